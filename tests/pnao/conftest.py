"""One thread, and no chatter of Lightning's."""

import logging

import torch

torch.set_num_threads(1)
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
