"""How smol-llava's projector and adapter were trained."""
