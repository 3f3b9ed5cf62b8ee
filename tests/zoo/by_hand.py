"""LLaVA-1.5 and what the paper adds, from their formulas, in plain torch on the original's names.

Nothing here comes from vlmlens or transformers: it is what their results are held against.
"""

import numpy as np
import torch
from PIL import Image

#: CLIP's mean and standard deviation of red, green and blue.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

TOWER = "model.vision_tower.vision_tower.vision_model."


def pixels(image, side):
    """A picture in the middle of a square of the mean colour, resized, and standardised."""
    longest = max(image.size)
    square = Image.new("RGB", (longest, longest), tuple(int(m * 255) for m in MEAN))
    square.paste(image, ((longest - image.width) // 2, (longest - image.height) // 2))
    small = square.resize((side, side), Image.Resampling.BICUBIC)
    scaled = (np.asarray(small, dtype=np.float32) / 255 - MEAN) / STD
    return torch.from_numpy(scaled.transpose(2, 0, 1)).float()[None]


def linear(w, name, x):
    bias = w.get(f"{name}.bias")
    y = x @ w[f"{name}.weight"].T
    return y if bias is None else y + bias


def layer_norm(w, name, x, eps=1e-5):
    x = x - x.mean(-1, keepdim=True)
    y = x / (x.square().mean(-1, keepdim=True) + eps).sqrt()
    return y * w[f"{name}.weight"] + w[f"{name}.bias"]


def rms_norm(weight, x, eps):
    return weight * x / (x.square().mean(-1, keepdim=True) + eps).sqrt()


def heads_of(x, heads):
    return x.reshape(len(x), heads, -1).transpose(0, 1)  # head pos d_head


def attend(q, k, v, mask=0.0):
    pattern = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5 + mask).softmax(-1)
    return (pattern @ v).transpose(0, 1).flatten(1)


def tower(w, picture, heads, patch):
    """Every layer's output, the embedding first; CLS and patches."""
    weight = w[TOWER + "embeddings.patch_embedding.weight"]
    channels, height, width = picture[0].shape
    cut = picture[0].reshape(channels, height // patch, patch, width // patch, patch)
    patches = cut.permute(1, 3, 0, 2, 4).flatten(2).flatten(0, 1)
    x = torch.cat([w[TOWER + "embeddings.class_embedding"][None], patches @ weight.flatten(1).T])
    x = x + w[TOWER + "embeddings.position_embedding.weight"]
    x = layer_norm(w, TOWER + "pre_layrnorm", x)
    found, layer = [x], 0
    while f"{TOWER}encoder.layers.{layer}.mlp.fc1.weight" in w:
        block = f"{TOWER}encoder.layers.{layer}."
        y = layer_norm(w, block + "layer_norm1", x)
        q, k, v = (heads_of(linear(w, f"{block}self_attn.{s}_proj", y), heads) for s in "qkv")
        x = x + linear(w, block + "self_attn.out_proj", attend(q, k, v))
        y = linear(w, block + "mlp.fc1", layer_norm(w, block + "layer_norm2", x))
        x = x + linear(w, block + "mlp.fc2", y * torch.sigmoid(1.702 * y))
        found.append(x)
        layer += 1
    return found


def vision_tokens(w, layers, normalized, multilayer):
    """What enters the language model, from the tower's layers."""
    if multilayer:
        read = [layer_norm(w, TOWER + "post_layernorm", layers[n])[1:] for n in (12, 16, 20, 24)]
        x = torch.cat(read, -1)
    else:
        x = layers[-2][1:]
    inner = "model.mm_projector." + ("projector." if normalized else "")
    y = linear(w, inner + "0", x)
    y = linear(w, inner + "2", y * (1 + torch.erf(y / 2**0.5)) / 2)
    if normalized:
        y = rms_norm(w["model.mm_projector.norm.weight"], y, 1e-6)
        y = 0.83 * y * (1.22 / y.norm(dim=-1, keepdim=True)).clamp(max=1)
    return y


def turned(x, base=10000.0):
    """RoPE: channels i and i + d / 2 of position p turn by p / base ** (2 i / d)."""
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[1])[:, None] / base ** (torch.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def logits(w, x, heads, eps):
    """The language model's logits at every position."""
    mask = torch.full((len(x), len(x)), -torch.inf).triu(1)
    layer = 0
    while f"model.layers.{layer}.input_layernorm.weight" in w:
        block = f"model.layers.{layer}."
        y = rms_norm(w[block + "input_layernorm.weight"], x, eps)
        q, k, v = (heads_of(linear(w, f"{block}self_attn.{s}_proj", y), heads) for s in "qkv")
        x = x + linear(w, block + "self_attn.o_proj", attend(turned(q), turned(k), v, mask))
        y = rms_norm(w[block + "post_attention_layernorm.weight"], x, eps)
        gate = linear(w, block + "mlp.gate_proj", y)
        inside = gate * torch.sigmoid(gate) * linear(w, block + "mlp.up_proj", y)
        x = x + linear(w, block + "mlp.down_proj", inside)
        layer += 1
    return linear(w, "lm_head", rms_norm(w["model.norm.weight"], x, eps))


def answer_of(w, pieces, image, normalized, multilayer, *, side, patch, tower_heads, heads, eps):
    """Logits of a prompt whose pieces stand around one picture, as lists of tokens."""
    features = tower(w, pixels(image, side), tower_heads, patch)
    seen = vision_tokens(w, features, normalized, multilayer)
    before, after = (w["model.embed_tokens.weight"][piece] for piece in pieces)
    return logits(w, torch.cat([before, seen, after]), heads, eps), seen
