"""Points, boxes and masks -> the decoder's tokens (SAM paper A, "Prompt encoder")."""

from __future__ import annotations

import math

import torch
from torch import nn

from dataengine.model.layers import LayerNorm2d

NOT_A_POINT = -1
"""Label of a padding point. 0 is background, 1 foreground, 2 and 3 a box's first and second corner."""


class PromptEncoder(nn.Module):
    """Prompts in the model's input frame (pixels of the resized, padded image) -> embeddings.

    `embedding_size` is the side of the square image embedding, `image_size` that of the padded input.
    """

    def __init__(self, width: int = 256, embedding_size: int = 64, image_size: int = 1024) -> None:
        super().__init__()
        self.width = width
        self.embedding_size = embedding_size
        self.image_size = image_size
        self.pe_layer = PositionEmbeddingRandom(width // 2)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, 4, 2, stride=2),
            LayerNorm2d(4),
            nn.GELU(),
            nn.Conv2d(4, 16, 2, stride=2),
            LayerNorm2d(16),
            nn.GELU(),
            nn.Conv2d(16, width, 1),
        )
        self.no_mask_embed = nn.Embedding(1, width)
        self.text_projection: nn.Linear | None = None
        """CLIP embedding -> token; only where a checkpoint was trained with text, so official keys stay official."""

    @property
    def text_width(self) -> int | None:
        """D of the CLIP embeddings (B, D) that are taken as text; None without a text token."""
        return None if self.text_projection is None else self.text_projection.in_features

    def add_text(self, text_width: int) -> None:
        """Give the encoder a text token, with fresh weights, for embeddings of that width."""
        self.text_projection = nn.Linear(text_width, self.width).to(self.no_mask_embed.weight.device)

    def forward(
        self,
        points: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        boxes: torch.Tensor | None = None,
        masks: torch.Tensor | None = None,
        text: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed B prompts.

        points (B, N, 2) xy pixels with labels (B, N); boxes (B, 4) XYXY; masks (B, 1, 4e, 4e) logits,
        where e is the embedding's side; text (B, D) unit CLIP embeddings. Returns sparse (B, T, width)
        and dense (B, width, e, e), or dense (1, width, 1, 1) when no prompt has a mask: it is the same
        for all, so it isn't copied.
        Points without a box get one padding point, as in the public code.
        """
        coords, kinds = self._corners_and_points(points, labels, boxes)
        if coords is None or kinds is None:
            batch = next((len(given) for given in (masks, text) if given is not None), 1)
            sparse = self.no_mask_embed.weight.new_zeros(batch, 0, self.width)
        else:
            sparse = self.embed_points(coords, kinds)
        if text is not None:
            sparse = torch.cat([sparse, self.embed_text(text)], dim=1)
        if masks is not None:
            return sparse, self.mask_downscaling(masks)
        return sparse, self.no_mask_embed.weight.reshape(1, -1, 1, 1)

    def dense_positions(self) -> torch.Tensor:
        """Positional encoding of the image embedding's cells: (1, width, e, e)."""
        centres = (torch.arange(self.embedding_size, device=self.pe_layer.device) + 0.5) / self.embedding_size
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        return self.pe_layer(torch.stack([x, y], dim=-1)).permute(2, 0, 1)[None]

    def _corners_and_points(
        self, points: torch.Tensor | None, labels: torch.Tensor | None, boxes: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """All coordinates (B, T, 2) and their kinds (B, T): points, then box corners."""
        parts: list[torch.Tensor] = []
        kinds: list[torch.Tensor] = []
        if points is not None:
            if labels is None:
                raise ValueError("points need labels: 1 for foreground, 0 for background")
            parts.append(points)
            kinds.append(labels)
            if boxes is None:
                parts.append(points.new_zeros(len(points), 1, 2))
                kinds.append(labels.new_full((len(labels), 1), NOT_A_POINT))
        if boxes is not None:
            parts.append(boxes.reshape(-1, 2, 2))
            kinds.append(torch.tensor([2, 3], device=boxes.device).expand(len(boxes), 2))
        if not parts:
            return None, None
        return torch.cat(parts, dim=1), torch.cat([kind.long() for kind in kinds], dim=1)

    def embed_points(self, coords: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        """Coordinates (B, T, 2) xy of the input frame and their kinds, int64 (B, T), as labelled above."""
        # + 0.5: coordinates name a pixel, the encoding wants its centre. Division before the cast to
        # float32 keeps the precision of float64 coordinates, as the public code does.
        places = self.pe_layer(((coords + 0.5) / self.image_size).to(self.no_mask_embed.weight.dtype))
        places = places.masked_fill((kinds == NOT_A_POINT)[..., None], 0.0)
        kinds_of_points = [self.not_a_point_embed, *self.point_embeddings]
        table = torch.cat([next(kind.parameters()) for kind in kinds_of_points])
        return places + table[kinds + 1]

    def embed_text(self, text: torch.Tensor) -> torch.Tensor:
        """Unit CLIP embeddings (B, D) -> one token each, (B, 1, width). Raises ValueError without a text token."""
        if self.text_projection is None:
            raise ValueError("this prompt encoder has no text token")
        # Of about unit variance an entry, as the other tokens: a unit vector of 768 would start as almost nothing.
        return self.text_projection(text * math.sqrt(text.shape[1]))[:, None]


class PositionEmbeddingRandom(nn.Module):
    """Random Fourier features of coordinates in [0, 1] (Tancik et al. 2020); the matrix is a saved buffer."""

    positional_encoding_gaussian_matrix: torch.Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, features))

    @property
    def device(self) -> torch.device:
        return self.positional_encoding_gaussian_matrix.device

    def forward(self, coords: torch.Tensor) -> torch.Tensor:
        """(..., 2) xy in [0, 1] -> (..., 2 * features)."""
        angles = 2 * math.pi * ((2 * coords - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)
