"""An editor is adapted to one person: a small adapter, trained on pairs of that person's own film.

The steps are those of ``configs/recipes/adapt.yaml``, which ``bootdub adapt`` runs. Speech keeps its layers:
an adapter changes what the model does with pictures.
"""
