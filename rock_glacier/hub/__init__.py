"""Stage the Hub repository and upload it."""
