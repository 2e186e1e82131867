"""The critic: trained against a frozen generator, it judges joint choices of species."""
