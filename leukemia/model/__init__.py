"""Networks, loss and the modules that train them."""
