"""One thread, and no chatter of Lightning's."""

import logging

import lightning
import torch

torch.set_num_threads(1)
logging.getLogger(lightning.pytorch.__name__).setLevel(logging.ERROR)
