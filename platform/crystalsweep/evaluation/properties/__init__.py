"""Evaluations of property models: predictions beside baselines that know less, with intervals and verdicts."""
