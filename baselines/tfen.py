"""TFEN: what a face encoder knows of the person is taken out of the expression features.

Source: Teng, Zhang, Zou, Li, Lee, "Typical Facial Expression Network Using a Facial Feature
Decoupler and Spatial-Temporal Learning", IEEE Transactions on Affective Computing 14(2), 2023.
A method for video with identity labels; here it sees stills (T = 1), and clusters stand in for
people. ``docs/baselines.md`` lists what deviates.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import timm
import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional as F

from fersearch.errors import InputError
from fersearch.models import Baseline, Batch, TrainingData, TrainingLoss, register_baseline

default_cfgs = generate_default_cfgs(
    {"tfen": {"num_classes": 1000, "input_size": (3, 224, 224), "classifier": "fc"}}
)

CHANNELS = 256
CLUSTERS = 64
IDENTITY_WEIGHT, ADVERSARY_WEIGHT = 1.0, 0.1
RAMP_SHARE = 1 / 3


def _encoder(in_chans: int) -> nn.Module:
    """Return ResNet18's stem and layers 1-3: an image to ``(B, 256, H / 16, W / 16)``."""
    encoder: nn.Module = timm.create_model("resnet18", num_classes=0, in_chans=in_chans)
    encoder.prune_intermediate_layers([3], prune_head=True)  # type: ignore[operator]
    return encoder


class SpatialTemporal(nn.Module):
    """A 3x3x3 convolution that halves height and width, its normalisation and ReLU.

    The weight is kept as ``(out, in, 27)``, for networks are trained in the channels-last layout:
    torch refuses to put tensors of five dimensions in it.
    """

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, channels, 27))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.bn = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, C, T, H / 2, W / 2)`` (rounded up) for ``(B, C, T, H, W)``."""
        weight = self.weight.view(*self.weight.shape[:2], 3, 3, 3)
        return F.relu(self.bn(F.conv3d(x, weight, stride=(1, 2, 2), padding=1)))


class Decoupler(nn.Module):
    """Subtracts the gated face features from the expression features.

    ``g = sigmoid(conv1x1([e; f]))``, ``p = BN(conv1x1(f))``, ``z = relu(e - g * p)``.
    """

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.gate = nn.Conv2d(2 * channels, channels, 1)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        for convolution in (self.gate, self.project):
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, expression: Tensor, face: Tensor) -> Tensor:
        """Return z for two maps ``(B, C, H, W)``, in their shape."""
        gate = torch.sigmoid(self.gate(torch.cat([expression, face], dim=1)))
        return F.relu(expression - gate * self.bn(self.project(face)))


class TFEN(nn.Module):
    """TFEN on stills, ``(B, in_chans, H, W)``; 9,304,711 parameters with 7 classes.

    Args:
        num_classes: Number of logits; 0 leaves the classifier out (256 features come out).
        in_chans: Channels of the input images.
        drop_rate: Dropout before the classifier.
    """

    def __init__(
        self, num_classes: int = 1000, in_chans: int = 3, *, drop_rate: float = 0.5
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.num_features = self.head_hidden_size = CHANNELS
        self.face_encoder = _encoder(in_chans)
        self.expression_encoder = _encoder(in_chans)
        self.decoupler = Decoupler()
        self.spatial_temporal = nn.Sequential(SpatialTemporal(), SpatialTemporal())
        self.dropout = nn.Dropout(drop_rate)
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def get_classifier(self) -> nn.Module:
        """Return the last linear layer (an identity without classes)."""
        return self.fc

    def decoupled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the decoupled expression map z and the face map f, ``(B, 256, h, w)`` each."""
        face = self.face_encoder(x)
        return self.decoupler(self.expression_encoder(x), face), face

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the decoupled expression map, ``(B, 256, H / 16, W / 16)``."""
        return self.decoupled(x)[0]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Convolve in 3D, pool, drop out and classify; with ``pre_logits`` do not classify."""
        x = self.dropout(self.spatial_temporal(x.unsqueeze(2)).mean(dim=(2, 3, 4)))
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, ``(B, num_classes)``."""
        return self.forward_head(self.forward_features(x))


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reverse_gradient(x: Tensor, strength: float = 1.0) -> Tensor:
    """Return ``x``; its gradient is multiplied by ``-strength`` (Ganin & Lempitsky, ICML 2015)."""
    return cast(Tensor, _Reversal.apply(x, strength))


def ramp(progress: float) -> float:
    """Return the adversary's share of its weight: linear from 0 to 1 over the first third."""
    return min(1.0, progress / RAMP_SHARE)


def pseudo_identities(embeddings: Tensor, *, seed: int, limit: int = CLUSTERS) -> Tensor:
    """Cluster images by k-means over their standardised embeddings.

    They are rounded to four decimals first, so that equal images share a cluster.

    Args:
        embeddings: float ``(N, D)``.
        seed: Seed of the clustering.
        limit: Largest number of clusters; never more than there are distinct embeddings.

    Returns:
        Number of each image's cluster, int64 ``(N,)`` on the CPU.
    """
    points = embeddings.double().cpu().numpy()
    spread = points.std(axis=0)
    points = ((points - points.mean(axis=0)) / np.where(spread > 1e-6, spread, 1)).round(4)
    clusters = min(limit, len(np.unique(points, axis=0)))
    if clusters < 2:
        return torch.zeros(len(points), dtype=torch.int64)
    from sklearn.cluster import MiniBatchKMeans  # slow to import, only needed here

    means = MiniBatchKMeans(clusters, random_state=seed % 2**32, n_init=3)  # type: ignore[no-untyped-call]
    return torch.from_numpy(means.fit(points).labels_.astype(np.int64))


class TFENLoss(TrainingLoss):
    """Cross entropy of the expression, of the face encoder's identity and of an adversary's.

    ``CE(expression) + 1 CE(identity from f) + 0.1 ramp CE(identity from z, gradient reversed)``.

    Args:
        label_smoothing: Label smoothing of the expression, in 0-1.
    """

    identities: Tensor | None

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.identity_head: nn.Module | None = None
        self.adversary: nn.Module | None = None
        self.register_buffer("identities", None)

    def prepare(
        self, network: nn.Module, data: TrainingData, *, companion: nn.Module | None = None
    ) -> None:
        """Cluster the training images by the initial face encoder and build the two heads."""
        encoder = cast(TFEN, network).face_encoder
        with torch.no_grad():
            pooled = [encoder(images).float().mean(dim=(2, 3)) for images in data.batches()]
        identities = pseudo_identities(torch.cat(pooled), seed=data.seed)
        if (count := int(identities.max()) + 1) < 2:
            self.notes = ("Identity loss and adversary were off: fewer than 2 image clusters.",)
            return
        self.notes = (
            f"Identities are {count} k-means clusters of the untrained face encoder's embeddings,"
            " not people.",
        )
        self.identities = identities.to(data.device)
        self.identity_head = nn.Linear(CHANNELS, count).to(data.device)
        self.adversary = nn.Sequential(
            nn.Linear(CHANNELS, CHANNELS), nn.ReLU(inplace=True), nn.Linear(CHANNELS, count)
        ).to(data.device)

    def forward(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss and the expression's logits."""
        ours = cast(TFEN, network)
        expression, face = ours.decoupled(batch.inputs)
        logits = ours.forward_head(expression).float()
        loss = F.cross_entropy(logits, batch.labels, label_smoothing=self.label_smoothing)
        if self.identities is None or self.identity_head is None or self.adversary is None:
            return loss, logits
        identities = self.identities[batch.indices.to(self.identities.device)]
        known = self.identity_head(face.mean(dim=(2, 3))).float()
        guessed = self.adversary(reverse_gradient(expression.mean(dim=(2, 3)))).float()
        loss = loss + IDENTITY_WEIGHT * F.cross_entropy(known, identities)
        weight = ADVERSARY_WEIGHT * ramp(batch.progress)
        return loss + weight * F.cross_entropy(guessed, identities), logits


@register_model
def tfen(pretrained: bool = False, **options: Any) -> nn.Module:
    """TFEN; see :class:`TFEN` for the options."""
    if pretrained:
        raise InputError("there are no pretrained weights of tfen", "leave pretrained out")
    model: nn.Module = build_model_with_cfg(TFEN, "tfen", False, **options)
    return model


register_baseline(
    Baseline(
        name="tfen",
        title="TFEN (style)",
        source="Teng et al.: Typical Facial Expression Network Using a Facial Feature Decoupler "
        "and Spatial-Temporal Learning, IEEE Transactions on Affective Computing 14(2), 2023",
        loss=TFENLoss,
        notes=(
            "A video method on stills: one frame, so two thirds of the temporal weights see only"
            " padding.",
            "Identity labels are k-means clusters, not people; widths are this project's choice.",
        ),
    )
)
