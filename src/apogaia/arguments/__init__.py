"""What public functions are handed (masked arrays, quantities, pandas, columns, paths), made plain."""
