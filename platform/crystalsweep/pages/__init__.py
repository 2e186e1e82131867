"""What HTML pages and texts of reports have in common: one base template, one way to write a figure."""
