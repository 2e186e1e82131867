"""Predicted properties: a property model beside baselines, with intervals, verdicts, strata and a report."""
