"""Networks, fusion, losses, metrics, and the LightningModule of them."""
