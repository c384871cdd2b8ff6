"""Pure functions on mask arrays: run lengths, boxes, NMS, regions, IoU. Numpy in, numpy out; no model."""

from dataengine.masks.boxes import box_area, box_of_mask, near_crop_edge, xyxy_to_xywh
from dataengine.masks.iou import mask_iou, rle_iou
from dataengine.masks.nms import nms
from dataengine.masks.packed import PackedMask
from dataengine.masks.regions import clean_mask
from dataengine.masks.rle import decode, encode, encode_boxed, rle_area, rle_box

__all__ = [
    "PackedMask",
    "box_area",
    "box_of_mask",
    "clean_mask",
    "decode",
    "encode",
    "encode_boxed",
    "mask_iou",
    "near_crop_edge",
    "nms",
    "rle_area",
    "rle_box",
    "rle_iou",
    "xyxy_to_xywh",
]
