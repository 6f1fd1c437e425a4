"""What ``--help`` says of each command, at length."""

from __future__ import annotations

MODEL = "a model file (.onnx, .pt2, .keras, .pb, .tflite, .json, ...), zoo:NAME, or path/to/file.py:function"
#: What stands for several of them.
MODELS = (
    "of several, each; a folder stands for all model files below it, a pattern for what fits, - for a list on stdin"
)

EPILOG = """\
MODEL is a model file (.onnx; .pt2 of PyTorch; .keras, .h5; .pb, .pbtxt or a
SavedModel of TensorFlow; model.json of TensorFlow.js; .tflite; .xml of
OpenVINO; .param of ncnn; a networkx node-link .json), zoo:NAME for a
published network (see `rfgraph zoo`), or path/to/file.py:function for a
function that returns a graph; that file is run.

exit codes:
  0  clean
  1  check: something at or above --fail-on
  2  the request or the model cannot be read
  3  an error in rfgraph itself, please report it

examples:
  rfgraph summary zoo:resnet_v1_50 --input-size 224
  rfgraph check model.onnx --fail-on error
  rfgraph sizes zoo:xception
  rfgraph region zoo:vgg_16 vgg_16/pool5 3,5 --input-size 224
  rfgraph trace zoo:vgg_16 -o trace.csv
  rfgraph check models/*.onnx
"""

SUMMARY = """\
Show what every layer sees of the input, one row per layer:

  n      size of its feature map, where an input size is given
  r      receptive field size in pixels
  S      effective stride (jump): pixels from one feature to the next
  P      effective padding: feature 0 reads from pixel -P on
  start  centre of feature 0, where the centre of pixel 0 is 0.5

One number stands for all axes if they agree, else one per axis: 7x11. "global"
reads the whole axis, "+global" does so by some path besides; "<=" is an upper
bound, "a..b" goes from a to b by the input size, where none is given, and "?"
is not known, for the reason below the table.
"""

CHECK = """\
Show every merge whose branches do not line up, worst first: where the branches
part, how far they are off, and the change of padding that repairs it; and what
else users of a network should know, such as holes in receptive fields.

Exit code 1 if a finding is at or above --fail-on and not accepted. Without an
input size, what depends on it is told for all sizes. Where a field is not known
even so, as behind an op that rfgraph does not know, its merges cannot be
checked; that is shown and counts as a warning, so that a network passes only
when it is known to be clean. Give --treat or --input-size to know more, or
--fail-on error to let it pass.

[tool.rfgraph] in the pyproject.toml of this folder, or of the nearest above it
that has one, may hold select, ignore and accept, which are lists, fail-on,
input-size, alignment, causal, treat (a table of patterns), and budget, a table
of min-r, max-look-ahead, max-parameters and tile-multiple: not to keep to it is
an error. [tool.rfgraph.models."audio/*"] holds the same for some models alone.
The options come first; what --accept says is added.

The formats concise, github, sarif and junit are for editors, annotations of
GitHub, code scanning, and test reports. `rfgraph rule RF002` explains a rule.
"""

DIFF = """\
Show what layers of two models see differently: map size n, field r, stride S
and padding P, as first -> second, and the shift of their centres in input
pixels; which layers, outputs and findings only one of them has, and the
parameters.

Layers are matched by name where the models share half of their names, as two
versions do; else by place in the graph, as two formats of one model are, whose
layers that hand on what they read are not compared then.

  rfgraph diff frozen.pb ported.onnx --input-size 224
  rfgraph diff main.onnx branch.onnx --format md

Exit code 1 where they differ: layers by more than --tolerate pixels in n, r, P
or centre, or anything else at all.
"""

ANNOTATE = """\
Write what was found into a copy of a model, for viewers of graphs:

  rfgraph annotate model.onnx -o annotated.onnx   for Netron, which shows it as
                                                  metadata of each node
  rfgraph annotate model.onnx -o r.json           node data for Model Explorer

r, S, P, n, the status and findings stand under keys that begin with "rfgraph.";
those of an earlier annotation are replaced, and every other byte of the model
stays as it is. Weights in files of their own are not touched: put the copy
beside them.
"""

REPAIR = """\
Write a copy of a model with the changes of padding that findings advise, and
show what was changed, and what is left and why. Each change was tried: the copy
is solved again, and has none of the findings that were mended, nor serious new
ones.

  rfgraph repair model.onnx -o repaired.onnx
  rfgraph repair net.json -o repaired.json --select RF002 --node 'block3/*'

FILE is .json, for networks, or .onnx, for ONNX models. Of the findings that
--select, --ignore and --accept choose those are repaired that say how.

Weights were trained with the old paddings: train or tune them again.

Exit code 1 where something that was chosen is left. Nothing is written where
there is nothing to repair.
"""

SIZES = """\
Show the input sizes at which a network works, per axis: at others, maps that
meet differ in size or are shrunk to nothing. Beside them stand those at which
all its merges line up, where padding depends on the size. n is the input size;
"n mod 16 is 0 or 8, from 75" holds for 80, 88, 96 and so on.
"""

TILE = """\
Show how to cut the input into tiles that are run one by one, so that their
outputs, less a halo, put together are exactly those of the whole: what tile
starts are multiples of, the halo at each side, and for some tile sizes how many
there are and what they cost.

Exit code 1 where exact tiling is forbidden, with the nodes that forbid it.
The formats bioimageio, monai and careamics give what those tools take, and what
is lost.
"""

LATENCY = """\
Show how a network streams: how far it looks ahead of an output's own position,
what chunks of input it takes, and what every layer keeps between them. Lengths
are in input samples, or rows of an image.

Exit code 1 where streaming is forbidden, with the nodes that forbid it, or
where the latency is above --max-ms.
"""

DRAW = """\
Draw the graph of a network with r and S of every node. Nodes that belong to a
module by their names stand in one box. Merges whose branches do not line up are
coloured: red for an error, yellow for a warning, blue for a note.

svg and png are pictures (png needs matplotlib: pip install 'rfgraph[plot]');
dot is for Graphviz, mermaid for Markdown. Without -o the picture goes to the
output.
"""

REPORT = """\
Write a page for a browser that holds all there is to see of a network: its
graph, the field of every feature on every map on the way, the findings with
their branches, tables, tiling and latency. It is one file that works from disk
and fetches nothing; pictures that are dropped on it stay on the machine.

  rfgraph report model.onnx --input-size 224 -o report.html
"""

FIELD = """\
Show how strongly one feature of a layer feels each position of the input: the
mean square of its gradient over random weights, or the gradient itself where
weights are fixed. The theoretical field says what can matter, this one what
does.

With --input-size it is cut at the borders of all maps. A FILE that ends in .npy
is the map itself, one that ends in .png a heat map, which needs matplotlib: pip
install 'rfgraph[plot]'; csv has a row per position.
"""

STRONGEST = """\
Run a model on an image and show the features of a layer that answer most
strongly, with the pixels that each can see and the smallest square that holds
half of what it feels.

A FILE that ends in .png is the image with these boxes, which needs matplotlib:
pip install 'rfgraph[plot]'.
"""

SWEEP = """\
Look at many designs of a network: every combination of the values that --set
and --each give, or a sample of them, and tell what they see, whether they line
up, and what they cost where channels are known.

  rfgraph sweep model.onnx --set 'conv*.kernel=3,5,7' --set 'pool1.stride=1,2' \\
      --where 'r >= 256 and aligned' --best macs --input-size 224

A key is a node or a pattern of nodes, and an attribute. Values are numbers, one
per axis as 1x7, or words as same; [...] is read as JSON. What changes together
is joined by &: 'conv*.kernel & conv*.padding = 3&1, 5&2'.

A condition compares r, S, P, map_size, parameters and macs, on all axes and
nodes, or r[0], r["y"], r["node"]; it knows aligned, is_global, works, and, or,
not. What is not known does not fit.
"""

COMPLETION = """\
Write the script by which a shell completes commands, options and files; it
needs shtab (pip install 'rfgraph[completion]').

  rfgraph completion bash > ~/.local/share/bash-completion/completions/rfgraph
  rfgraph completion zsh > FOLDER/_rfgraph, where FOLDER is one of $fpath
  rfgraph completion fish > ~/.config/fish/completions/rfgraph.fish
"""
