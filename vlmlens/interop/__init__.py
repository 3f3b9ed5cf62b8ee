"""vlmlens beside other libraries: one file each, imported only when it is asked for.

``vlmlens.interop.nnsight`` needs the extra ``vlmlens[nnsight]``.
"""
