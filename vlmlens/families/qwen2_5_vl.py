"""Qwen2.5-VL: Qwen2-VL whose tower attends within windows, and keeps patches in their order.

The order is undone after the merger, so vision tokens are in raster order; the points inside the
tower, and ``projector.hook_out``, are window by window.
"""

from dataclasses import replace

from vlmlens.families.qwen2_vl import QWEN2_VL

QWEN2_5_VL = replace(QWEN2_VL, model_type="qwen2_5_vl", raster=False)
