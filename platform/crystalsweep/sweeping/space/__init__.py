"""What differs between trials: parameters and their ranges, objectives, and what a sweep file says."""
