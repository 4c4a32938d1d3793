"""Small published networks with known weights, written in each layout, and an independent forward pass in numpy.

The forward pass follows the papers' description: no code of the package takes part.
"""

import base64
import collections
import io
import json
import pickle
import struct
import zipfile

import h5py
import numpy as np

N_PIXELS = 7514
ELEMENTS = "C CI N O Na Mg Al Si P S K Ca Ti TiII V Cr Mn Co Ni".split()
NAMES = "c c1 n o na mg al si p s k ca ti ti2 v cr mn co ni".split()
WINDOWS = (3806, 557, 3776, 505, 13, 106, 51, 102, 24, 8, 16, 19, 31, 28, 29, 46, 70, 24, 206)
TARGETS = "teff logg C C1 N O Na Mg Al Si P S K Ca Ti Ti2 V Cr Mn Fe Co Ni".split()
HEADS = ("teff", "logg", "fe", "teff_var", "logg_var", "fe_var")
PIXELS = 1878 * 4


class Network:
    """Weights by the role of each layer: kernel and bias."""

    def __init__(self, kind, hidden, seed=1):
        self.kind, self.hidden, self.rng = kind, hidden, np.random.default_rng(seed)
        one, two = hidden[:2]
        self.weights = {"conv_1": self.layer(8, 1, 2), "conv_2": self.layer(8, 2, 4)}
        self.weights |= {"dense_1": self.layer(PIXELS, one), "dense_2": self.layer(one, two)}
        if kind == "ApogeeBCNNCensored":
            _, _, narrow_1, narrow_2, auxiliary = hidden
            for head in HEADS:
                self.weights[head] = self.layer(two, 1)
            self.weights["aux"] = self.layer(two, auxiliary)
            for name, pixels in zip(NAMES, WINDOWS, strict=True):
                first, second = (8 * narrow_1, 4 * narrow_2) if name in ("c", "n") else (narrow_1, narrow_2)
                self.weights |= {f"{name}_1": self.layer(pixels, first), f"{name}_2": self.layer(first, second)}
                self.weights[f"{name}_out"] = self.layer(second + auxiliary + 3, 1)
                self.weights[f"{name}_var"] = self.layer(second + auxiliary + 3, 1)
        else:
            self.weights |= {"output": self.layer(two, 1), "variance_output": self.layer(two, 1)}
        if kind == "ApogeeDR14GaiaDR2BCNN":
            three, four = hidden[2:]
            self.weights |= {"offset_1": self.layer(3, three), "offset_2": self.layer(three, four)}
            self.weights["offset_output"] = self.layer(four, 1)
        self.mean = self.rng.normal(0.95, 0.05, N_PIXELS)
        self.labels_mean = np.array([4700.0, 2.3, *np.linspace(-0.3, 0.1, 20)])
        self.labels_std = np.array([500.0, 0.8, *np.linspace(0.2, 0.5, 20)])

    def layer(self, *shape):
        scale = 2 / np.sqrt(np.prod(shape[:-1]))
        kernel, bias = self.rng.normal(0, scale, shape), self.rng.normal(0, 0.3, shape[-1])
        return kernel.astype("float32"), bias.astype("float32")

    @property
    def n_weights(self):
        return sum(kernel.size + bias.size for kernel, bias in self.weights.values())

    def apply(self, role, x):
        kernel, bias = self.weights[role]
        return x @ kernel.astype(float) + bias

    def windows(self):
        """Which pixels an element sees; made of the package's table, which is data and no code."""
        from importlib import resources

        runs = json.loads((resources.files("apogaia.formats") / "apogee_pixels.json").read_text(encoding="utf-8"))
        masks = []
        for element in ELEMENTS:
            mask = np.zeros(N_PIXELS, bool)
            for start, stop in runs["element_windows"][element]:
                mask[start:stop] = True
            masks.append(mask)
        return masks

    def hidden_of(self, subtracted):
        """The last layer that sees the whole spectrum, (n, units)."""
        x = subtracted[:, :, None]
        for role in ("conv_1", "conv_2"):
            kernel, bias = self.weights[role]
            width = len(kernel)
            padded = np.pad(x, ((0, 0), ((width - 1) // 2, width // 2), (0, 0)))
            x = sum(padded[:, i : i + N_PIXELS] @ kernel[i].astype(float) for i in range(width)) + bias
            x = np.maximum(x, 0)
        x = x[:, : N_PIXELS // 4 * 4].reshape(len(x), N_PIXELS // 4, 4, -1).max(axis=2).reshape(len(x), -1)
        return np.maximum(self.apply("dense_2", np.maximum(self.apply("dense_1", x), 0)), 0)

    def fakemag(self, spectra, scale, pixel_sd=1.0):
        """Luminosity [mas] and its log variance, (n,) each."""
        hidden = self.hidden_of((spectra - self.mean) / pixel_sd)
        output, variance = self.apply("output", hidden)[:, 0], self.apply("variance_output", hidden)[:, 0]
        return scale * np.logaddexp(0, output), variance + 2 * np.log(scale)

    def offset(self, inputs, scale):
        """Zero point [mas] for inputs (n, 3) as the network sees them."""
        x = inputs
        for role in ("offset_1", "offset_2", "offset_output"):
            x = np.tanh(self.apply(role, x))
        return scale * x[:, 0]

    def labels(self, spectra, pixel_sd=1.0):
        """Labels and log variances, (n, 22) each, in physical units."""
        subtracted = (spectra - self.mean) / pixel_sd
        hidden = self.hidden_of(subtracted)
        star = {head: self.apply(head, hidden) for head in HEADS}
        told = [self.apply("aux", hidden), star["teff"], star["logg"], star["fe"]]
        out, var = {}, {}
        for name, mask in zip(NAMES, self.windows(), strict=True):
            x = np.maximum(self.apply(f"{name}_1", subtracted[:, mask]), 0)
            x = np.hstack([np.maximum(self.apply(f"{name}_2", x), 0), *told])
            out[name], var[name] = self.apply(f"{name}_out", x), self.apply(f"{name}_var", x)
        columns = [[values[name] for name in NAMES] for values in (out, var)]
        first = np.hstack([star["teff"], star["logg"], *columns[0][:17], star["fe"], *columns[0][17:]])
        second = np.hstack([star["teff_var"], star["logg_var"], *columns[1][:17], star["fe_var"], *columns[1][17:]])
        return self.labels_mean + self.labels_std * first, second + 2 * np.log(self.labels_std)


def network(kind="ApogeeBCNN", seed=1, hidden=None):
    sizes = {"ApogeeBCNN": (7, 5), "ApogeeDR14GaiaDR2BCNN": (7, 5, 4, 6), "ApogeeBCNNCensored": (9, 7, 3, 2, 2)}
    return Network(kind, hidden or sizes[kind], seed)


def spectra(n=3, seed=5):
    return np.random.default_rng(seed).normal(0.95, 0.2, (n, N_PIXELS)).astype("float32")


# --- layers as Keras names and lists them -----------------------------------------------------------------------------


def layer_names(net, numbered=41):
    """Names of the layers by role: automatic ones start anywhere and are in no order."""
    automatic = ["conv_1", "conv_2"], [r for r in net.weights if r.startswith(("dense", "offset_")) and "put" not in r]
    automatic[1].extend(head for head in HEADS if head in net.weights)
    order = np.random.default_rng(2).permutation(len(automatic[1]))
    names = {role: f"conv1d_{numbered + i}" for i, role in enumerate(automatic[0])}
    names |= {role: f"dense_{numbered + place}" for role, place in zip(automatic[1], order, strict=True)}
    joint = net.kind == "ApogeeDR14GaiaDR2BCNN"
    names |= {"aux": "aux_fullspec", "offset_output": "offset_output"}
    names |= {role: f"fakemag_{role}" if joint else role for role in ("output", "variance_output")}
    for name in NAMES:
        names |= {f"{name}_1": f"{name}_dense", f"{name}_2": f"{name}_dense_2"}
        names |= {f"{name}_out": f"{name}_concat", f"{name}_var": f"{name}_concat_var"}
    return {role: names[role] for role in net.weights}


def layer_list(net, names, keras, factor=73.85, shuffle=3):
    """The description's layers in a shuffled order: (role or None, description)."""
    layers = []
    for role, name in names.items():
        kind = "Conv1D" if role.startswith("conv") else "Dense"
        config = {"name": name, "units": net.weights[role][1].size}
        if role == "output":
            config["activation"] = "softplus"
        layers.append((role, {"class_name": kind, "config": config, "inbound_nodes": []}))
    if net.kind == "ApogeeBCNNCensored":
        for output, end, star in (("output", "_out", HEADS[:3]), ("variance_output", "_var", HEADS[3:])):
            elements = [names[f"{name}{end}"] for name in NAMES]
            teff, logg, fe = (names[role] for role in star)
            sources = [teff, logg, *elements[:17], fe, *elements[17:]]
            if keras == 2:
                nodes = [[[source, 0, 0, {}] for source in sources]]
            else:
                tensors = [{"class_name": "__keras_tensor__", "config": {"keras_history": [s, 0, 0]}} for s in sources]
                nodes = [{"args": [tensors], "kwargs": {}}]
            described = {"class_name": "Concatenate", "config": {"name": output}, "inbound_nodes": nodes}
            layers.append((None, described))
    if net.kind == "ApogeeDR14GaiaDR2BCNN":
        code = base64.encodebytes(b"c" * 60 + struct.pack("<d", factor) + b"tail").decode()
        layers.append((None, {"class_name": "Lambda", "config": {"name": "lambda_2", "function": [code, None, None]}}))
    order = np.random.default_rng(shuffle).permutation(len(layers))
    return [layers[i] for i in order]


def write_keras2(path, net, *, chunked=False, whole=True, **options):
    names = layer_names(net)
    layers = layer_list(net, names, 2, **options)
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = "2.2.4-tf", "tensorflow"
        group = file
        if whole:
            description = json.dumps({"class_name": "Model", "config": {"layers": [layer for _, layer in layers]}})
            file.attrs["model_config"] = description.encode()
            group = file.create_group("model_weights")
        listed = [layer["config"]["name"].encode() for _, layer in layers]
        pieces = np.array_split(np.array(listed), 3) if chunked else [np.array(listed)]
        for i, piece in enumerate(pieces):
            group.attrs[f"layer_names{i}" if chunked else "layer_names"] = piece
        for role, layer in layers:
            name = layer["config"]["name"]
            inner = group.create_group(name)
            ends = [] if role is None else [f"{name}/kernel:0", f"{name}/bias:0"]
            for end, values in zip(ends, net.weights.get(role, ()), strict=True):
                inner[end] = values
            for i, end in enumerate(ends):
                if chunked:
                    inner.attrs[f"weight_names{i}"] = np.array([end.encode()])
            if not chunked:
                inner.attrs["weight_names"] = np.array([end.encode() for end in ends])


def write_keras3(path, net, *, noted=True, **options):
    names = layer_names(net)
    layers = layer_list(net, names, 3, **options)
    content, seen = io.BytesIO(), collections.Counter()
    with h5py.File(content, "w") as file:
        for role, layer in layers:
            kind = {"Conv1D": "conv1d", "Dense": "dense", "Concatenate": "concatenate"}.get(
                layer["class_name"], "lambda"
            )
            variables = file.create_group(f"layers/{kind}_{seen[kind]}/vars" if seen[kind] else f"layers/{kind}/vars")
            seen[kind] += 1
            if noted:
                variables.attrs["name"] = layer["config"]["name"]
            for i, values in enumerate(net.weights.get(role, ())):
                variables[str(i)] = values
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.0.5"}))
        config = {"class_name": "Functional", "config": {"layers": [layer for _, layer in layers]}}
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", content.getvalue())


# --- model folders ----------------------------------------------------------------------------------------------------


def parameters_of(net, **changes):
    """The JSON file as of 2018-19: lists and whole numbers."""
    censored, joint = net.kind == "ApogeeBCNNCensored", net.kind == "ApogeeDR14GaiaDR2BCNN"
    labels = 22 if censored else 1
    means = [*net.mean.tolist(), 9.06, 1.0, 1.0, 1.0] if joint else net.mean.tolist()
    return {
        "id": net.kind,
        "activation": "relu",
        "dropout_rate": 0.3,
        "filterlen": 8,
        "filternum": [2, 4],
        "pool_length": 4,
        "hidden": list(net.hidden),
        "input": [N_PIXELS + 4 * joint, 1],
        "labels": labels,
        "input_mean": means,
        "input_std": [1.0],
        "input_norm_mode": 3,
        "labels_mean": net.labels_mean.tolist() if censored else [0.0],
        "labels_std": net.labels_std.tolist() if censored else [1.41 if joint else 94.0],
        "labels_norm_mode": 2 if censored else 4,
        "last_layer_activation": "linear" if censored or joint else "softplus",
        "targetname": TARGETS if censored else ["Ks-band fakemag"],
        "task": "regression",
        **changes,
    }


def by_name(parameters):
    """The same as of 2021: by the names of inputs and outputs, modes as texts."""
    changed = dict(parameters)
    for key in ("input", "input_mean", "input_std", "input_norm_mode"):
        value = str(parameters[key]) if key.endswith("mode") else parameters[key]
        changed[key] = {"input": value, "input_err": value, "labels_err": value}
    for key in ("labels", "labels_mean", "labels_std", "labels_norm_mode"):
        value = str(parameters[key]) if key.endswith("mode") else parameters[key]
        changed[key] = {"output": value, "variance_output": value}
    return changed


LAYOUTS = ("2018", "2021", "keras3", "keras3 without names")


def write_folder(folder, net, layout="2018", changes=None, **options):
    """A model folder; `options` go to the writer of its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    parameters = parameters_of(net, **(changes or {}))
    if layout != "2018":
        parameters = by_name(parameters)
    (folder / "astroNN_model_parameter.json").write_text(json.dumps(parameters), encoding="utf-8")
    if layout.startswith("keras3"):
        write_keras3(folder / "model_weights.keras", net, noted="without" not in layout, **options)
    else:
        write_keras2(folder / "model_weights.h5", net, chunked=layout == "2018", **options)
    return folder


# --- PyTorch ----------------------------------------------------------------------------------------------------------


class _Named:
    """Something that a pickle names: module and name, never imported."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class _Storage:
    def __init__(self, kind, key, size):
        self.pid = ("storage", _Named("torch", kind), key, "cpu", size)


class _Tensor:
    def __init__(self, storage, shape, strides):
        self.arguments = (storage, 0, shape, strides, False, collections.OrderedDict())


class _Pickler(pickle._Pickler):
    """Writes names without importing them; `pickle`'s own class in Python, since the other cannot be told how."""

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, _Storage) else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, _Named):
            return self.write(b"c" + f"{obj.module}\n{obj.name}\n".encode())
        if isinstance(obj, _Tensor):
            return self.save_reduce(_Named("torch._utils", "_rebuild_tensor_v2"), obj.arguments)
        return super().save(obj, save_persistent_id)

    def save_reduce(self, func, args, *rest, **options):
        if isinstance(func, _Named):
            self.save(func)
            self.save(args)
            return self.write(b"R")
        return super().save_reduce(func, args, *rest, **options)


KINDS = {"f8": "DoubleStorage", "f4": "FloatStorage", "b1": "BoolStorage", "i8": "LongStorage"}


def state_of(net, masks=None):
    """Tensors by the names in Astra's files."""
    torch_names = {"conv_1": "conv1", "conv_2": "conv2", "dense_1": "dense_1", "dense_2": "dense_2"}
    state = {"input_mean": net.mean}
    if net.kind == "ApogeeBCNNCensored":
        state |= {"labels_mean": net.labels_mean, "labels_std": net.labels_std}
        state |= {f"aspcap_masks.{i}": mask for i, mask in enumerate(masks or net.windows())}
        torch_names["aux"] = "dense_aux_fullspec"
        for roles, name in ((HEADS[:3], "dense_teffloggfeh"), (HEADS[3:], "dense_teffloggfeh_var")):
            state[f"{name}.weight"] = np.hstack([net.weights[role][0] for role in roles]).T
            state[f"{name}.bias"] = np.concatenate([net.weights[role][1] for role in roles])
        for i, name in enumerate(NAMES):
            torch_names |= {f"{name}_1": f"elem_dense1.{i}", f"{name}_2": f"elem_dense2.{i}"}
            torch_names |= {f"{name}_out": f"elem_dense_out.{i}", f"{name}_var": f"elem_dense_var.{i}"}
    else:
        state["labels_std"] = np.array([100.745])
        torch_names |= {"output": "dense_output", "variance_output": "dense_var"}
    for role, name in torch_names.items():
        kernel, bias = net.weights[role]
        state |= {f"{name}.weight": kernel.T, f"{name}.bias": bias}
    return state


def write_torch(path, state, *, transposed=(), extra=None, described=None, storage="{}"):
    """A file as torch.save writes it; tensors in `transposed` are views with other strides.

    `described` is a shape and strides that all tensors claim to have, `storage` the form of the storages' names.
    """
    order = np.random.default_rng(7).permutation(len(state))
    names = [list(state)[i] for i in order]
    tensors, members = collections.OrderedDict(), {}
    for key, name in enumerate(names):
        values = np.asarray(state[name])
        stored = np.ascontiguousarray(values.T if name in transposed else values)
        kind = KINDS[stored.dtype.str[1:]]
        steps = [step // stored.itemsize for step in stored.strides]
        strides = tuple(steps[::-1] if name in transposed else steps)
        shape, strides = described or (values.shape, strides)
        tensors[name] = _Tensor(_Storage(kind, storage.format(key), stored.size), shape, strides)
        members[f"archive/data/{key}"] = stored.tobytes()
    tensors._metadata = collections.OrderedDict({"": {"version": 1}})  # as a module's dictionary has it
    content = io.BytesIO()
    _Pickler(content, protocol=2).dump({"epoch": 30, "model_state_dict": tensors, **(extra or {})})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content.getvalue())
        archive.writestr("archive/byteorder", "little")
        for name, data in members.items():
            archive.writestr(name, data)
    return path
