"""How the shapes models were trained, end to end.

``python -m vlmlens.zoo.training.recipe --out FOLDER`` trains ``shapes-base``: the tower learns what
and where each patch is and is then frozen; projector and language model learn together to answer,
first look-ups (what is red? what shape is it?), then relations and places.

``python -m vlmlens.zoo.training.recipe.queue --out FOLDER`` trains the arms of the study with
LLaVA's staged recipe in miniature (``arms``): their language model is taught on scenes in words
(``text``) before it meets a picture.

Every step sees fresh scenes of training layouts, and several questions share a scene. Every
stage is seeded by step and goes on where it was cut off; its metrics are in a CSV file beside its
checkpoint; and what it must reach is measured on layouts that are in neither training nor test.
"""
