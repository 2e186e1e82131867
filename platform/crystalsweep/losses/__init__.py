"""What is minimised: reconstruction (Eq. 1) and adversarial terms (Eqs. 2 and 3)."""

from crystalsweep.losses.adversarial import discriminator_loss, generator_loss
from crystalsweep.losses.reconstruction import position_loss, reconstruction_loss, species_loss
from crystalsweep.losses.species_gradient import species_for_discriminator

__all__ = [
    "discriminator_loss",
    "generator_loss",
    "position_loss",
    "reconstruction_loss",
    "species_for_discriminator",
    "species_loss",
]
