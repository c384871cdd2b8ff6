"""`transformers.SamModel` with our weights, asked as the official code is asked.

Where transformers (read and run: 5.24) is not the official code:

- The layer norms of the mask decoder's transformer have eps 1e-6 by default, the official ones torch's 1e-5
  (only `norm_final_attn` has it there too). That moves logits and predicted IoUs by about 1e-4 of the largest
  value. The configuration can say 1e-5, and here it does.
- A mask prompt belongs to an image, not to a prompt: one mask for all prompts of an image. Prompts with masks
  are therefore asked as so many images with one prompt each, which have the same embedding.
- The Gaussian matrix is in the state dict twice, for the prompts and for the image's positions.
- It knows one more label, -10, "a point that isn't there", for batches of unequal prompts. The official code
  gives such a point its position and no kind; nothing asks for it here.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

from dataengine.model import Sam
from dataengine.model.image_encoder import ImageEncoderViT
from tests.parity.inputs import Prompt
from tests.parity.public import Vit, transformers_sam

OFFICIAL_EPS = 1e-5
"""Of `nn.LayerNorm`, in the official two-way transformer."""

DEFAULT_EPS = 1e-6
"""Of transformers' own configuration, and of the checkpoints that were converted to it."""

_NAMES = (
    (r"^image_encoder\.", "vision_encoder."),
    (r"patch_embed\.proj\.", "patch_embed.projection."),
    (r"\.blocks\.(\d+)\.norm", r".layers.\1.layer_norm"),
    (r"\.blocks\.", ".layers."),
    (r"\.neck\.0\.", ".neck.conv1."),
    (r"\.neck\.1\.", ".neck.layer_norm1."),
    (r"\.neck\.2\.", ".neck.conv2."),
    (r"\.neck\.3\.", ".neck.layer_norm2."),
    (r"\.pe_layer\.positional_encoding_gaussian_matrix$", ".shared_embedding.positional_embedding"),
    (r"\.point_embeddings\.", ".point_embed."),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"\.transformer\.layers\.(\d+)\.norm", r".transformer.layers.\1.layer_norm"),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    (r"(_mlps\.\d+|_prediction_head)\.layers\.0\.", r"\1.proj_in."),
    (r"(_mlps\.\d+|_prediction_head)\.layers\.1\.", r"\1.layers.0."),
    (r"(_mlps\.\d+|_prediction_head)\.layers\.2\.", r"\1.proj_out."),
)
"""Official name -> transformers' name; applied one after the other."""


def translated(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """An official state dict under transformers' names."""
    out = {}
    for name, value in state.items():
        new = name
        for pattern, replacement in _NAMES:
            new = re.sub(pattern, replacement, new)
        assert new not in out, f"two tensors are called {new}"
        out[new] = value
    out["shared_image_embedding.positional_embedding"] = out["prompt_encoder.shared_embedding.positional_embedding"]
    return out


class HuggingFace:
    """`SamModel` around the weights of `ours`; `vit` is the shape of its encoder, None when it has none.

    `eps` is that of the layer norms in the mask decoder's transformer.
    """

    def __init__(self, ours: Sam, vit: Vit | None, eps: float = OFFICIAL_EPS) -> None:
        configuration, model = transformers_sam()
        side, patch = ours.image_size, ours.image_size // ours.embedding_size
        vision: dict[str, Any] = {"image_size": side, "patch_size": patch, "num_hidden_layers": 0}
        if vit is not None:
            vision |= {
                "hidden_size": vit.width,
                "num_hidden_layers": vit.depth,
                "num_attention_heads": vit.heads,
                "global_attn_indexes": list(vit.global_blocks),
                "mlp_dim": 4 * vit.width,
            }
        width = ours.mask_decoder.state_dict()["transformer.layers.0.mlp.lin1.weight"].shape[0]
        self.model = model(
            configuration(
                vision_config=vision,
                prompt_encoder_config={"image_size": side, "patch_size": patch},
                mask_decoder_config={"mlp_dim": width, "layer_norm_eps": eps},
            )
        ).eval()
        if vit is None:
            assert not isinstance(ours.image_encoder, ImageEncoderViT)
            self.model.vision_encoder = nn.Identity()
        state = {name: value for name, value in ours.state_dict().items() if vit or "image_encoder" not in name}
        self.model.load_state_dict(translated(state), strict=True)

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model.get_image_embeddings(pixels)

    def prompt(self, prompt: Prompt) -> tuple[torch.Tensor | None, torch.Tensor]:
        sparse, dense = self.model.get_prompt_embeddings(**_asked(prompt))
        return (None if sparse is None else sparse.flatten(0, 1)), dense

    def decode(self, embedding: torch.Tensor, prompt: Prompt, multimask: bool) -> tuple[torch.Tensor, torch.Tensor]:
        images = 1 if prompt.masks is None else len(prompt.masks)
        found = self.model(
            image_embeddings=embedding.expand(images, -1, -1, -1), multimask_output=multimask, **_asked(prompt)
        )
        return found.pred_masks.flatten(0, 1), found.iou_scores.flatten(0, 1)


def _asked(prompt: Prompt) -> dict[str, torch.Tensor | None]:
    """(images, prompts of an image, ...): B prompts of one image, or one prompt of B images if they have masks."""
    # Of one image the new axis comes first, of B images it comes second.
    axis = 0 if prompt.masks is None else 1

    def of(value: torch.Tensor | None) -> torch.Tensor | None:
        return None if value is None else value.unsqueeze(axis)

    return {
        "input_points": of(prompt.points),
        "input_labels": of(prompt.labels),
        "input_boxes": of(prompt.boxes),
        "input_masks": prompt.masks,
    }
