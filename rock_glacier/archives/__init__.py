"""Archives as `rock_glacier_dataset` reads them: their order, writer and manifest, and the grounds beside them."""
