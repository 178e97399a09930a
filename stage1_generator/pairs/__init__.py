"""From companions to pairs: augmented copies, common light, speakers, and pairs of drawn characters."""
