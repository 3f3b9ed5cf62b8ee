"""vlmlens beside other libraries: one file each, imported only when it is asked for.

``nnsight`` and ``native`` need the extra ``vlmlens[nnsight]``: the first traces a model that is
open here, the second is for models on a server. ``transformer_lens`` makes a bridge.
"""
