import json

import numpy as np
import pytest
import xarray as xr

SAMPLES, LAYERS, HEADS = 4, 2, 3


@pytest.fixture
def results():
    """What ``diagnose`` saves, small enough to know: four questions, two layers, three heads."""
    grid = ("sample", "layer", "head")
    ones = np.ones((SAMPLES, LAYERS, HEADS))
    steps = np.array([0.0, 0.1, 0.2, 0.3])[:, None, None] * ones
    norms = np.ones((SAMPLES, LAYERS + 1, 3)) * [1.0, 2.0, 8.0]  # system, user, vision
    permutations = ["original", "seed 0", "seed 1"]
    correct = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1], [1, 1, 1]], dtype=float)
    return xr.Dataset(
        {
            "cmb": (grid, 0.4 * ones + steps, {"units": "fraction"}),
            "cmb_uniform": ("sample", np.full(SAMPLES, 0.9)),
            "alpha_v": (grid, 0.2 * ones),
            "delta_g_v": (grid, np.array([-1.0, 1.0, -1.0, 1.0])[:, None, None] * ones),
            "delta_alpha_v": (grid, 1e-4 * (1 + steps)),
            "eq11_residual": (grid, -2e-5 * ones),
            "hidden_norm": (("sample", "depth", "role"), norms),
            "correct": (("sample", "permutation"), correct),
            "log_prob": (("sample", "permutation"), np.log(0.2 + 0.7 * correct)),
            "answer": (("sample", "permutation"), np.where(correct == 1, "red", "blue")),
        },
        coords={
            "role": ["system", "user", "vision"],
            "depth_label": ("depth", ["embedding", "after block 0", "after final norm"]),
            "permutation": permutations,
            "category": ("sample", ["color", "color", "shape", "shape"]),
            "question": ("sample", [f"What is {number}?" for number in range(SAMPLES)]),
            "gold": ("sample", ["red"] * SAMPLES),
        },
        attrs={
            "model": "shapes-base",
            "command": "vlmlens diagnose shapes-base --seed 3",
            "data": "shapes-2d",
            "seed": 3,
            "versions": json.dumps({"vlmlens": "0.1.0", "torch": "2.13.0"}),
            "created": "2025-11-22",
            "attention": "auto",
            "failures": json.dumps([]),
            "reference": "gold",
        },
    )


@pytest.fixture
def table():
    """Accuracy 0.9 against 0.6 and a PSI of 33 per cent; one category less sure than the whole."""
    columns = {
        "accuracy": [0.9, 0.8],
        "accuracy_low": [0.85, 0.5],
        "accuracy_high": [0.95, 0.9],
        "accuracy_permuted": [0.6, 0.7],
        "accuracy_permuted_low": [0.55, 0.6],
        "accuracy_permuted_high": [0.65, 0.8],
        "psi": [33.3, 12.5],
        "psi_low": [25.0, -8.0],
        "psi_high": [40.0, 30.0],
        "chance": [0.25, 0.25],
        "psi_corrected": [46.2, 18.2],
        "drop_log_prob": [1.25, 0.5],
        "drop_log_prob_low": [1.0, 0.1],
        "drop_log_prob_high": [1.5, 0.9],
        "p_value": [0.0001, 0.4],
        "n": [200, 20],
    }
    found = xr.Dataset(
        {name: ("category", values) for name, values in columns.items()},
        coords={"category": ["overall", "color"]},
    )
    found["psi"].attrs["units"] = "%"
    return found
