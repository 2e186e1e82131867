"""A sweep as plain data: parameters, objectives, trials and their trainings, how they ended, what a report says."""
