"""Files made by others or drawn in advance, with the command that refreshes them."""
