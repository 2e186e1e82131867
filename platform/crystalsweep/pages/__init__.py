"""What pages and texts of reports have in common: one base template, tables and pictures, a mean with its interval."""
