"""Publication on the Hub: Parquet and card, the staged folder of each branch, commits, and reading back."""
