"""GLM-GA: GLM-4.6V under another name, with an image processor of its own."""

from dataclasses import replace

from vlmlens.families.glm4v import GLM46V

GLMGA = replace(GLM46V, model_type="glmga")
