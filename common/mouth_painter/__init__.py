"""Training of the painter of insides of mouths (:mod:`common.own_mouths.painting`)."""
