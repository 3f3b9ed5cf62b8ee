"""A slow reference: plain torch hooks on transformers' own modules, nothing of ours."""

from contextlib import ExitStack

import torch


class Plain:
    """One model's blocks, run with torch hooks alone."""

    def __init__(self, vlm):
        self.hf = vlm.hf_model
        self.family = vlm.family
        self.blocks = self.hf.get_submodule(vlm.family.lm_layers)
        config = vlm.config.get_text_config()
        self.width = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )

    def run(self, inputs, before=(), after=(), grad=False):
        """Logits of the last position; hooks are (module, function), before it runs or after."""
        with ExitStack() as stack, torch.set_grad_enabled(grad):
            for module, hook in before:
                handle = module.register_forward_pre_hook(hook, with_kwargs=True)
                stack.callback(handle.remove)
            for module, hook in after:
                stack.callback(module.register_forward_hook(hook).remove)
            given = dict(inputs.tensors)
            return self.hf(**given, use_cache=False).logits[:, -1]

    def recorded(self, inputs):
        """What every o_proj reads, and what every attention and MLP gives back."""
        z, attn, mlp = {}, {}, {}

        def entering(store, layer):
            def hook(module, args, kwargs):
                store[layer] = args[0].clone()

            return hook

        def leaving(store, layer):
            def hook(module, args, output):
                store[layer] = (output[0] if isinstance(output, tuple) else output).clone()

            return hook

        blocks = list(enumerate(self.blocks))
        before = [(b.self_attn.o_proj, entering(z, i)) for i, b in blocks]
        after = [(b.self_attn, leaving(attn, i)) for i, b in blocks]
        after += [(b.mlp, leaving(mlp, i)) for i, b in blocks]
        logits = self.run(inputs, before, after)
        return logits, z, attn, mlp

    def stream_at(self, inputs, layer, head, clean_z, attn, mlp, reader, where=slice(None)):
        """What enters the reader's block (or the final norm) with a sender patched, all frozen."""
        got = {}

        def patched(module, args, kwargs):
            z = args[0].clone()
            own = slice(head * self.width, (head + 1) * self.width)
            z[:, where, own] = clean_z[layer][:, where, own]
            return (z, *args[1:]), kwargs

        def frozen(x):
            return lambda module, args, output: (x, *output[1:]) if isinstance(output, tuple) else x

        def stop(module, args, kwargs):
            got["x"] = args[0] if args else kwargs["hidden_states"]

        norm = self.hf.get_submodule(self.family.final_norm)
        blocks = [*self.blocks, norm]
        target = blocks[reader] if isinstance(reader, int) else reader
        after = [(b.self_attn, frozen(attn[i])) for i, b in enumerate(self.blocks) if i != layer]
        after += [(b.mlp, frozen(mlp[i])) for i, b in enumerate(self.blocks)]
        before = [(self.blocks[layer].self_attn.o_proj, patched), (target, stop)]
        self.run(inputs, before, after)
        return got["x"]

    def entering(self, inputs, module, before=()):
        """What enters a module, under hooks before others."""
        got = {}

        def look(_, args, kwargs):
            got["x"] = args[0] if args else kwargs["hidden_states"]

        self.run(inputs, [*before, (module, look)])
        return got["x"].clone()

    def mlp_norm(self, layer):
        """The norm before an MLP; where it reads what attention reads, the one before both."""
        block = self.blocks[layer]
        for name in ("pre_feedforward_layernorm", "post_attention_layernorm", "input_layernorm"):
            if hasattr(block, name):
                return getattr(block, name)
        raise AssertionError(type(block))

    def telling(self, reader, side, head, told, share):
        """Hooks after which one reader hears ``share`` of what it is told, and nobody else does."""
        block = self.blocks[reader] if reader < len(self.blocks) else None
        if block is None:
            norm = self.hf.get_submodule(self.family.final_norm)
            return [(norm, lambda m, a, k: ((a[0] + share * told, *a[1:]), k))], []
        if side == "mlp":
            norm, seen = self.mlp_norm(reader), {}
            look = (norm, lambda m, a, k: seen.update(x=a[0]))
            fresh = (block.mlp, lambda m, a, k: ((norm.forward(seen["x"] + share * told),), k))
            return [look, fresh], []
        module, seen = getattr(block.self_attn, f"{side}_proj"), {}
        own = slice(head * self.width, (head + 1) * self.width)

        def replaced(_, args, output):
            fresh = module.forward(block.input_layernorm.forward(seen["x"] + share * told))
            rest = [output[..., : own.start], fresh[..., own], output[..., own.stop :]]
            return torch.cat(rest, -1)

        look = (block.input_layernorm, lambda m, a, k: seen.update(x=a[0]))
        return [look], [(module, replaced)]

    def slope(self, inputs, score, reader, side, head, told, before=()):
        """d score / d share, where one reader hears a share of what it is told; at share 0."""
        share = torch.zeros((), requires_grad=True)
        first, then = self.telling(reader, side, head, told, share)
        logits = self.run(inputs, [*before, *first], then, grad=True)
        (found,) = torch.autograd.grad(score(logits).sum(), share)
        return found.item()

    def moved(self, clean, corrupted, share):
        """Hooks that begin a run at a share of the way between two, deep image features too."""
        first, ends = self.blocks[0], []
        for inputs in (clean, corrupted):
            into = [self.entering(inputs, block) for block in self.blocks[:2]]
            out = {}
            look = (first, lambda m, a, x, out=out: out.update(x=x[0] if type(x) is tuple else x))
            self.run(inputs, after=[look])
            ends.append((into[0], into[1] - out["x"]))
        ways = [one - other for one, other in zip(*ends, strict=True)]

        def shift(way):
            return lambda m, a, k: ((a[0] + share * way, *a[1:]), k)

        return [(block, shift(way)) for block, way in zip(self.blocks, ways, strict=False)]

    def reading(self, inputs, reader, side, head, stream, where=slice(None)):
        """Logits where one head's projection reads this stream, and all after it is computed."""
        block = self.blocks[reader]
        module = getattr(block.self_attn, f"{side}_proj")
        own = slice(head * self.width, (head + 1) * self.width)

        def replaced(_, args, output):
            output = output.clone()
            fresh = module.forward(block.input_layernorm.forward(stream))
            output[:, where, own] = fresh[:, where, own]
            return output

        return self.run(inputs, after=[(module, replaced)])

    def ending(self, inputs, stream):
        norm = self.hf.get_submodule(self.family.final_norm)
        return self.run(inputs, [(norm, lambda m, a, k: ((stream, *a[1:]), k))])
