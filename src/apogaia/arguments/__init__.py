"""Arguments of public functions (masked arrays, quantities, pandas, columns, paths), converted to plain ones."""
