"""Fine-tuning: the pre-trained backbone learns a property; stability first (paper, Fig. 1C)."""
