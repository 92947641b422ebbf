"""The peer of a training run: what a first version would be. Eager, float32, NCHW, a DataLoader and torchvision."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from rigl_core.data.images import ImageData
from rigl_core.models import MODELS
from rigl_core.torchvision_compat import import_torchvision_datasets


class Pictures(Dataset[tuple[Tensor, int]]):
    """As torchvision's data sets: an image of PIL, through transforms of torchvision, one by one."""

    def __init__(self, data: ImageData, *, augment: bool) -> None:
        import_torchvision_datasets()  # torchvision fails beside a CPU torch without this
        from PIL import Image
        from torchvision import transforms

        images = data.train.images.permute(0, 2, 3, 1).numpy()
        self._pictures = [Image.fromarray(image if image.shape[2] == 3 else image[:, :, 0]) for image in images]
        self._labels = data.train.labels.tolist()
        size = data.image_shape[1:]
        changes = [transforms.RandomCrop(size, padding=4, padding_mode="reflect"), transforms.RandomHorizontalFlip()]
        self._transform = transforms.Compose(
            [*(changes if augment else ()), transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(self._pictures[index]), self._labels[index]


class PlainDropout(nn.Dropout):
    """PyTorch's own, in place of ours, which draws quicker on a CPU."""


class PlainLoop:
    """A dense network, its weights under no mask at all, trained a batch a call or an epoch a call."""

    def __init__(self, model: str, data: ImageData, *, n_workers: int, augment: bool, device: str = "cpu") -> None:
        torch.manual_seed(0)
        self.device = device
        self.model: nn.Module = MODELS[model](**data.model_arguments())
        for parent in list(self.model.modules()):
            for name, child in list(parent.named_children()):
                if type(child).__name__ == "Dropout":
                    setattr(parent, name, PlainDropout(child.p))
        self.model.to(device).train()
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
        )
        self.loader = DataLoader(
            Pictures(data, augment=augment),
            128,
            shuffle=True,
            num_workers=n_workers,
            persistent_workers=n_workers > 0,
            pin_memory=device != "cpu",
        )
        self._batches: Iterator[tuple[Tensor, Tensor]] = iter(self.loader)

    def step(self) -> None:
        """The next batch; the data begin anew when they are through."""
        try:
            images, labels = next(self._batches)
        except StopIteration:
            self._batches = iter(self.loader)
            images, labels = next(self._batches)
        self._train(images, labels)

    def epoch(self) -> float:
        """All batches; the mean loss, read after every step as most loops do."""
        return sum(self._train(images, labels) for images, labels in self.loader) / len(self.loader)

    def _train(self, images: Tensor, labels: Tensor) -> float:
        images, labels = images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
        self.optimizer.zero_grad()
        loss = functional.cross_entropy(self.model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.item()
