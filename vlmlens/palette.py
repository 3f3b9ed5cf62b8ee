"""The colours of roles: the same in figures, in the explorer and in notebooks."""

#: Okabe and Ito's palette, which stays apart under every common colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
ROLE_COLOURS = {
    "vision": COLOURS[0],
    "user": COLOURS[1],
    "system": COLOURS[2],
    "assistant": COLOURS[3],
    "template": COLOURS[4],
    "bos": COLOURS[5],
    "pad": "#c4c9cf",
}
