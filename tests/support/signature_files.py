"""Signature files: small ones, and some that have every key and every option of every step between them."""

from __future__ import annotations

GOOD = """\
format: 1
graph:
  builder: mine
  options: {scope: net, beams: 10, rate: 0.5, merge: false, date: "2024-05-06"}
signatures:
  serving_default:
    inputs:
      image: {dtype: float32, shape: [batch, 32, width, 3]}
      lengths: {dtype: int32, shape: [batch]}
    outputs:
      ids: {tensor: "decoder/ids:1", dtype: int64, shape: [batch, time]}
      score: {dtype: float32, shape: []}
parity:
  - dims: {batch: 2, width: 100}
    inputs:
      image: {uniform: [0, 255]}
      lengths: {values: [25, 20]}
"""

FILE = """\
format: 1
options:
  charset:
  order: bgr
  width: 3
signatures:
  serving_default:
    inputs:
      picture: {dtype: string, shape: [batch]}
    preprocess:
      - decode
      - resize: {height: 32, width: null}
      - normalise: {order: $order, mean: [1, 2, 3], scale: 0.5}
      - pad: {min_width: 4, value: -1}
    feed:
      image:0: images
      length: {from: widths, divide_by: 4}
    postprocess:
      - ctc_decode: {logits: logits, sequence_length: length, beam_width: $width}
      - characters: {file: $charset}
      - failed: {text: "", score: -.inf}
    outputs:
      text: {dtype: string, shape: [batch]}
"""

DETECTOR = """\
format: 1
options:
  heights:
signatures:
  serving_default:
    inputs:
      page: {dtype: string, shape: [batch]}
    preprocess:
      - decode
      - resize_page: {short_side: 600, max_long_side: 1200}
    feed:
      image: images
      info: sizes
    postprocess:
      - ctpn_decode: {probabilities: p, deltas: d, sizes: info, heights: $heights, min_score: 0.1, most: 9}
      - text_lines: {sizes: info, slanted: true, max_gap: 20}
      - scale_back: {coordinates: quads}
    outputs:
      quads: {dtype: float32, shape: [batch, lines, 8]}
      status: {dtype: int32, shape: [batch]}
"""

READER = DETECTOR.replace(
    "    outputs:\n",
    """\
    each_line:
      preprocess:
        - crop_lines: {quads: quads, height: 32}
        - normalise: {order: bgr}
        - pad: {min_width: 4}
      feed:
        line: images
        counts: steps
      postprocess:
        - ctc_decode: {logits: l, sequence_length: counts}
    outputs:
      score: {dtype: float32, shape: [batch, lines]}
""",
)

# Every key of a signature file, and every option of every step.
OF_A_TRAINING = """\
format: 1
graph:
  builder: meta
  set: {training: false, keep_prob: 1.0, mode: infer}
  map: {"^net/": "", "a(.)": 'b\\1'}
  keep_training_ops: false
  allow_labels: true
  weights: ema
  decode: {logits: logits, beam_width: 3, top_paths: 2, merge_repeated: true, sequence_length: "lengths:0"}
signatures:
  serving_default:
    inputs: {image: {dtype: float32, shape: [batch, 32, width, 3]}, "lengths:0": {dtype: int32, shape: [batch]}}
    outputs: {a/b: {dtype: int64, shape: [], tensor: "x:1"}, "^c": {dtype: string, shape: [2], tensor: c}}
parity:
  - dims: {batch: 2, width: 9}
    inputs: {image: {uniform: [0, 1.5]}, "lengths:0": {values: [1, [2, true], x, !!binary eA==]}}
  - dims: {batch: 2, width: 9}
    inputs: {image: {values: 3}, "lengths:0": {uniform: [0, 9]}}
"""
OF_A_FUNCTION = """\
format: 1
graph:
  builder: package.module:build
  options: {scope: net, beams: 10, rate: 0.5, merge: false}
  keep_training_ops: true
signatures:
  serving_default:
    inputs: {image: {dtype: float32, shape: [batch]}}
    outputs: {x: {dtype: int64, shape: [batch]}}
"""
OF_LINES = """\
format: 1
graph: {builder: crnn, options: {scope: net}}
options: {charset: , order: bgr, width: 3, share: 0.5, nothing: , merge: true}
signatures:
  serving_default:
    inputs: {picture: {dtype: string, shape: [batch]}, more: {dtype: int32, shape: [batch]}}
    preprocess:
      - decode: {channels: 1, max_pixels: 100}
      - resize: {height: 32, width: 100, method: area, max_width: 200}
      - normalise: {order: rgb, mean: 1, scale: [0.5]}
      - pad: {multiple: 4, min_width: 4, value: -1.0}
    feed: {"image:0": images, length: {from: widths, divide_by: 4}, more: more}
    postprocess:
      - ctc_decode:
          logits: logits
          sequence_length: length
          beam_width: $width
          merge_repeated: $merge
          batch_first: true
          blank: first
          bigrams: pairs.txt
          bigram_weight: 0.5
          bigram_bonus: -1
      - characters: {file: $charset, ids: ids, logits: logits, strip: true}
      - failed: {text: "", score: -1.0e+30, lengths: 0}
    outputs: {text: {dtype: string, shape: [batch]}}
  other:
    inputs: {picture: {dtype: string, shape: [batch]}}
    preprocess: [decode, normalise, {normalise: {order: $order, mean: null}}, {pad: {}}, pad]
    feed: {image: images}
    outputs: {text: {dtype: string, shape: [batch]}}
"""
OF_PAGES = """\
format: 1
options: {heights: "11,16", share: 0.5}
signatures:
  serving_default:
    inputs: {page: {dtype: string, shape: [batch]}}
    preprocess: [decode, {resize_page: {short_side: 600, max_long_side: 1200, multiple: 16, method: bilinear}}]
    feed: {image: images, info: sizes}
    postprocess:
      - ctpn_decode:
          probabilities: p
          deltas: d
          sizes: info
          heights: $heights
          width: 16
          min_size: 8
          min_score: $share
          most_before_nms: 100
          max_overlap: 0.7
          most: 10
      - text_lines:
          sizes: info
          slanted: true
          min_proposal_score: 0.7
          max_overlap: 1
          max_gap: 50
          min_common_height: 0.7
          min_height_ratio: 0
          min_score: 0.9
          min_aspect_ratio: 1.5
          min_width: 32
          most: 10
      - scale_back: {coordinates: quads}
    each_line:
      preprocess:
        - crop_lines: {quads: quads, height: 32, max_width: 100}
        - normalise: {order: bgr, mean: [1, 2, 3], scale: 2}
        - pad: {multiple: 1, min_width: 4, value: 0}
      feed: {line: images, counts: {from: steps, divide_by: 1}}
      postprocess:
        - ctc_decode: {logits: l, sequence_length: counts}
    outputs: {score: {dtype: float32, shape: [batch, lines]}}
  east:
    inputs: {page: {dtype: string, shape: [batch]}}
    preprocess: [{decode: {}}, {resize_page: {short_side: 600, max_long_side: 1200}}]
    feed: {image: images}
    postprocess:
      - east_decode:
          score: s
          geometry: g
          sizes: sizes
          stride: 4
          min_score: 0.8
          most_cells: 100
          max_overlap: 0.2
          most_before_nms: 10
          min_mean_score: 0.1
          most: 10
      - ctpn_decode: {probabilities: p, deltas: d, sizes: sizes, heights: [11, 16]}
    outputs: {quads: {dtype: float32, shape: [batch, lines, 8]}}
"""
WHOLE = {"training": OF_A_TRAINING, "function": OF_A_FUNCTION, "lines": OF_LINES, "pages": OF_PAGES}
