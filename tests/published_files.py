"""A few rows of every published set, in its own files, columns and types."""

import base64
import json
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from PIL import Image

TEXT, NUMBER = pa.string(), pa.int64()
PICTURE = pa.struct({"bytes": pa.binary(), "path": TEXT})


def picture(seed: int, size: tuple[int, int] = (48, 32)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(seed: int) -> bytes:
    data = BytesIO()
    picture(seed).save(data, "PNG")
    return data.getvalue()


def struct(seed: int, path: str | None = None) -> dict:
    return {"bytes": encoded(seed), "path": path}


def put(folder: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(folder / name)


def table(path: Path, columns: dict[str, pa.DataType], *rows: tuple) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [dict(zip(columns, row, strict=True)) for row in rows]
    pq.write_table(pa.Table.from_pylist(cells, schema=pa.schema(columns)), path, row_group_size=2)


def lines(path: Path, *rows: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def whole(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def pope_hub(folder: Path) -> None:
    names = ("id", "question_id", "question", "answer", "image_source")
    columns = dict.fromkeys(names, TEXT) | {"image": PICTURE, "category": TEXT}
    rows = [
        (str(n), str(n // 3 + 1), f"Is there a {thing} in the image?", said, "COCO_val2014_1",
         struct(1), category)
        for n, (thing, said, category) in enumerate(
            (thing, said, category)
            for thing, said in (("snowboard", "yes"), ("skis", "no"))
            for category in ("adversarial", "popular", "random")
        )
    ]  # fmt: skip
    table(folder / "data" / "test-00000-of-00003.parquet", columns, *rows[:3])
    table(folder / "data" / "test-00001-of-00003.parquet", columns, *rows[3:])


def pope_full(folder: Path) -> None:
    """The configuration ``Full``: a file for each category."""
    pope_hub(folder / "default")
    names = sorted((folder / "default" / "data").glob("*.parquet"))
    whole_set = pa.concat_tables([pq.read_table(name) for name in names])
    (folder / "Full").mkdir()
    for category in ("adversarial", "popular", "random"):
        mine = whole_set.filter(pa.compute.equal(whole_set["category"], category))
        pq.write_table(mine, folder / "Full" / f"{category}-00000-of-00001.parquet")
    shutil.rmtree(folder / "default")


def pope_original(folder: Path) -> None:
    image = "COCO_val2014_000000310196.jpg"
    put(folder, f"val2014/{image}")
    for category in ("random", "popular", "adversarial"):
        lines(
            folder / f"coco_pope_{category}.json",
            {"question_id": 1, "image": image, "text": "Is there a snowboard in the image?",
             "label": "yes"},
            {"question_id": 2, "image": image, "text": "Is there a skis in the image?",
             "label": "no"},
        )  # fmt: skip


def mmvp(folder: Path) -> None:
    numbers = (1, 2, 99, 100)
    put(folder, *(f"MMVP Images/{n}.jpg" for n in numbers))
    rows = "\n".join(
        f"{n},Are the wings open?,(a) Open (b) Closed,({'ba'[n % 2]})" for n in numbers
    )
    (folder / "Questions.csv").write_text(f"lndex,Question,Options,Correct Answer\n{rows}\n")


def mmvp_copy(folder: Path) -> None:
    """lmms-eval's copy, whose answers are corrected."""
    columns = {"Index": NUMBER, "Question": TEXT, "Options": TEXT, "Correct Answer": TEXT}
    rows = [
        (n, "Are the wings open?", "(a) Open (b) Closed", f"({said})", struct(n))
        for n, said in ((1, "a"), (2, "b"), (99, "b"), (100, "a"))
    ]
    table(folder / "data" / "train-00000-of-00001.parquet", columns | {"image": PICTURE}, *rows)


GQA_TYPES = {"detailed": "relO", "semantic": "rel", "structural": "query"}
GQA_CELLS = {
    "semantic": [{"operation": "select", "dependencies": [], "argument": "man (123)"}],
    "entailed": ["02"],
    "equivalent": ["01"],
    "question": "Who is wearing the hat?",
    "imageId": "n161313",
    "isBalanced": True,
    "groups": {"global": "person", "local": "06"},
    "answer": "woman",
    "semanticStr": "select: man (123)",
    "annotations": {"answer": {"0": "1"}, "question": {"1": "2"}, "fullAnswer": {}},
    "types": GQA_TYPES,
    "fullAnswer": "The woman is wearing the hat.",
}


def gqa_original(folder: Path) -> None:
    put(folder, "images/n161313.jpg")
    other = GQA_CELLS | {"answer": "yes", "types": GQA_TYPES | {"structural": "verify"}}
    whole(folder / "testdev_balanced_questions.json", {"201307251": GQA_CELLS, "201": other})


def gqa_all(folder: Path) -> None:
    """All questions of the validation set, and the choices of its own evaluation."""
    put(folder, "images/n161313.jpg")
    common = GQA_TYPES | {"detailed": "twoCommon"}
    asked = {
        "200": GQA_CELLS | {"entailed": ["201", "200"]},
        "201": GQA_CELLS | {"answer": "yes", "entailed": [], "isBalanced": False},
        "202": GQA_CELLS | {"entailed": ["201"], "types": common},
    }
    whole(folder / "val_all_questions.json", asked)
    choices = {"valid": ["woman", "man", "boy"], "plausible": ["woman", "man"]}
    whole(folder / "eval" / "val_choices.json", dict.fromkeys(asked, choices))


def gqa_hub(folder: Path) -> None:
    """The hub writes what follows as a text, and places in a picture as lists of structs."""
    step = pa.struct({"operation": TEXT, "argument": TEXT, "dependencies": pa.list_(pa.int32())})
    place = pa.list_(pa.struct({"objectId": TEXT, "value": TEXT}))
    kinds = ("question", "answer", "fullAnswer")
    columns = {
        "id": TEXT, "imageId": TEXT, "question": TEXT, "answer": TEXT, "fullAnswer": TEXT,
        "isBalanced": pa.bool_(), "groups": pa.struct({"global": TEXT, "local": TEXT}),
        "entailed": TEXT, "equivalent": TEXT, "types": pa.struct(dict.fromkeys(GQA_TYPES, TEXT)),
        "annotations": pa.struct(dict.fromkeys(kinds, place)), "semantic": pa.list_(step),
        "semanticStr": TEXT,
    }  # fmt: skip
    told = [{"objectId": "0", "value": "1"}]
    row = ("n161313", GQA_CELLS["question"], "woman", GQA_CELLS["fullAnswer"], True,
           GQA_CELLS["groups"], "['202']", "['201']", GQA_TYPES, dict.fromkeys(kinds, told),
           GQA_CELLS["semantic"], GQA_CELLS["semanticStr"])  # fmt: skip
    images = {"id": TEXT, "image": PICTURE}
    file = "testdev-00000-of-00001.parquet"
    for split, names in (("testdev_balanced", ["201307251"]), ("testdev_all", ["201", "202"])):
        table(folder / f"{split}_instructions" / file, columns, *((name, *row) for name in names))
        path = folder / f"{split}_images" / file
        table(path, images, ("n161313", struct(3)), ("n9", struct(4)))


CV_ROW = {
    "idx": 0, "type": "2D", "task": "Count", "question": "How many organs are in the image?",
    "choices": ["3", "2", "1", "0"], "answer": "(C)",
    "prompt": "How many organs are in the image? Select from the following choices.\n"
    "(A) 3\n(B) 2\n(C) 1\n(D) 0",
    "filename": "img/2D/count/ade20k_10.png", "source": "ADE20K",
    "source_dataset": "ADE20K Validation Set", "source_filename": "ADE_val_00000248.jpg",
    "target_class": None, "target_size": None, "bbox": None,
}  # fmt: skip
CV_DEPTH = CV_ROW | {
    "idx": 1438, "type": "3D", "task": "Depth",
    "question": "Which object is closer to the camera, the desk (highlighted by a red box) or the "
    "lamp (highlighted by a blue box)?",
    "choices": ["desk", "lamp"], "answer": "(A)", "source": "Omni3D",
    "filename": "img/3D/depth/sunrgbd_1.png", "source_filename": "000001.jpg",
    "bbox": [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]],
}  # fmt: skip


def cv_bench_hub(folder: Path) -> None:
    columns = {
        "idx": NUMBER, "type": TEXT, "task": TEXT, "image": PICTURE, "question": TEXT,
        "choices": pa.list_(TEXT), "answer": TEXT, "prompt": TEXT, "filename": TEXT,
        "source": TEXT, "source_dataset": TEXT, "source_filename": TEXT, "target_class": TEXT,
        "target_size": NUMBER, "bbox": pa.list_(pa.list_(pa.float64())),
    }  # fmt: skip
    for part, cells in (("2d", CV_ROW), ("3d", CV_DEPTH)):
        row = tuple(struct(5) if name == "image" else cells[name] for name in columns)
        table(folder / f"test_{part}.parquet", columns, row)


def cv_bench_lines(folder: Path) -> None:
    put(folder, CV_ROW["filename"], CV_DEPTH["filename"])
    lines(folder / "test_2d.jsonl", CV_ROW)
    lines(folder / "test_3d.jsonl", CV_DEPTH)


VQA_ANSWERS = [
    {"answer": said, "answer_confidence": "yes", "answer_id": n + 1}
    for n, said in enumerate(["net"] * 8 + ["netting"] * 2)
]


def vqa_hub(folder: Path) -> None:
    answer = pa.struct({"answer": TEXT, "answer_confidence": TEXT, "answer_id": NUMBER})
    columns = {
        "question_type": TEXT, "multiple_choice_answer": TEXT, "answers": pa.list_(answer),
        "image_id": NUMBER, "answer_type": TEXT, "question_id": NUMBER, "question": TEXT,
        "image": PICTURE,
    }  # fmt: skip
    asked = "Where is he looking?"
    row = ("none of the above", "net", VQA_ANSWERS, 262148, "other", 262148000, asked, struct(6))
    table(folder / "data" / "validation-00000-of-00068.parquet", columns, row)
    hidden = (None, None, None, 262149, None, 262149000, asked, struct(6))
    table(folder / "data" / "testdev-00000-of-00036.parquet", columns, hidden)


def vqa_original(folder: Path) -> None:
    put(folder, "val2014/COCO_val2014_000000262148.jpg", "test2015/COCO_test2015_000000262149.jpg")
    for name, number in (("val2014", 262148), ("test-dev2015", 262149)):
        asked = {
            "image_id": number,
            "question": "Where is he looking?",
            "question_id": number * 1000,
        }
        whole(folder / f"v2_OpenEnded_mscoco_{name}_questions.json", {"questions": [asked]})
    told = {
        "question_type": "none of the above", "multiple_choice_answer": "net",
        "answers": VQA_ANSWERS, "image_id": 262148, "answer_type": "other",
        "question_id": 262148000,
    }  # fmt: skip
    whole(folder / "v2_mscoco_val2014_annotations.json", {"annotations": [told]})


VSR_ROW = {
    "image": "000000451431.jpg",
    "image_link": "http://images.cocodataset.org/train2017/000000451431.jpg",
    "caption": "The person is inside the refrigerator.", "label": 0, "relation": "inside",
    "annotator_id": 31, "vote_true_validator_id": "[2, 9]", "vote_false_validator_id": "[]",
}  # fmt: skip


def vsr_random(folder: Path) -> None:
    put(folder, "train2017/000000451431.jpg")
    rows = [
        VSR_ROW | {"reference_frame": None},
        VSR_ROW | {"label": 1, "caption": "The person is far away.", "reference_frame": 1.0},
    ]
    lines(folder / "test.jsonl", *rows)


def vsr_zeroshot(folder: Path) -> None:
    put(folder, "zeroshot/train2017/000000451431.jpg", "zeroshot/val2017/000000001675.jpg")
    objects = {"subj": "andbag", "obj": "cat"}
    other = VSR_ROW | {
        "image": "000000001675.jpg",
        "image_link": "http://images.cocodataset.org/val2017/000000001675.jpg",
        "caption": "The cat is facing away from the keyboard.", "relation": "facing away from",
    }  # fmt: skip
    lines(folder / "zeroshot" / "test.jsonl", VSR_ROW | objects, other | objects)


def whatsup(folder: Path) -> None:
    cells = []
    for relation, words in (("left_of", "to the left of"), ("right_of", "to the right of"),
                            ("on", "on"), ("under", "under")):  # fmt: skip
        path = f"data/controlled_images/beer-bottle_{relation}_armchair.jpeg"
        put(folder, path)
        right = f"A beer bottle {words} an armchair"
        wrong = [f"A beer bottle {w} an armchair" for w in
                 ("to the left of", "to the right of", "on", "under") if w != words]  # fmt: skip
        cells.append({"image_path": path, "caption_options": [right, *wrong]})
    whole(folder / "controlled_images_dataset.json", cells)
    put(folder, "val2017/000000397133.jpg")
    coco = [[397133, "A photo of a cat on the left", "A photo of a cat on the right"]]
    whole(folder / "coco_qa_one_obj.json", coco)


def whatsup_copy(folder: Path) -> None:
    """A copy on the hub: without names of files, the right caption first."""
    columns = {"image_options": PICTURE, "caption_options": pa.list_(TEXT)}
    words = ("to the left of", "to the right of", "in front of", "behind")
    said = [f"A mug {each} a plate" for each in words]
    rows = [(struct(n), [one, *(o for o in said if o != one)]) for n, one in enumerate(said)]
    table(folder / "data" / "Controlled_Images_B-00000-of-00001.parquet", columns, *rows)
    sides = ["A photo of a cat on the left", "A photo of a cat on the right"]
    path = folder / "data" / "COCO_QA_one_obj-00000-of-00001.parquet"
    table(path, columns, (struct(5), sides))


def blink(folder: Path) -> None:
    names = ("idx", "question", "sub_task")
    columns = dict.fromkeys(names, TEXT) | {f"image_{n}": PICTURE for n in (1, 2, 3, 4)}
    columns |= {"choices": pa.list_(TEXT), "answer": TEXT, "prompt": TEXT, "explanation": TEXT}
    said = "Is the car beneath the cat?"
    asked = f"{said}\nSelect from the following choices.\n(A) yes\n(B) no"
    name = "val_Spatial_Relation_1"
    row = (name, said, "Spatial_Relation", struct(7), None, None, None, ["yes", "no"], "(B)",
           asked, None)  # fmt: skip
    table(folder / "Spatial_Relation" / "val-00000-of-00001.parquet", columns, row)
    asked = (
        "Given the first image with one part missing, which one fits?\nSelect from the following "
    )
    asked += "choices.\n(A) the second image\n(B) the third image"
    two = ("val_Jigsaw_1", "Which one fits?", "Jigsaw", struct(7), struct(8), None, None,
           ["the second image", "the third image"], "(A)", asked, None)  # fmt: skip
    table(folder / "Jigsaw" / "val-00000-of-00001.parquet", columns, two)


def spatial_eval(folder: Path) -> None:
    names = ("text", "oracle_answer", "oracle_option", "oracle_full_answer")
    columns = {"id": TEXT, "image": PICTURE} | dict.fromkeys(names, TEXT)
    text = (
        "Where is Oz in relation to Al?\nAvailable options:\nA. Northwest\nB. Southwest\n"
        "C. Southeast\nD. Northeast"
    )
    row = ("spatialmap.vqa.2000.0", struct(9), text, "Southeast", "C", "C. Southeast")
    table(folder / "vqa" / "test-00000-of-00001.parquet", columns, row)
    row = ("spatialmap.tqa.2000.0", text, "Southeast", "C", "C. Southeast")
    columns.pop("image")
    table(folder / "tqa" / "test-00000-of-00001.parquet", columns, row)


def spatial_mm(folder: Path) -> None:
    put(folder, "images/dog.jpg")
    row = {
        "image_name": "dog.jpg", "question": "Where is the dog?\nA. left\nB. right",
        "answer": "B. right", "object1": "dog", "object2": "",
    }  # fmt: skip
    whole(folder / "spatial_mm_one_obj.json", [row])
    free = {
        "image_name": "dog.jpg",
        "question": "What is on the mat?",
        "answer": "a dog",
        "reasoning": "The mat is red.",
        "hop": 2,
    }
    whole(folder / "multihop_reasoning_309.json", [free])


def spatial_bench(folder: Path) -> None:
    put(folder, *(f"{kind}/1.jpg" for kind in ("positional", "existence", "counting", "reach")))
    asked = {"image": "positional/1.jpg", "question": "Is the cat left or right?", "answer": "left"}
    whole(folder / "positional.json", [asked])
    pair = [
        {"id": n, "image": "existence/1.jpg", "question": f"Is there a {thing}?", "answer": said}
        for n, (thing, said) in enumerate((("cat", "Yes"), ("dog", "No")))
    ]
    whole(folder / "existence.json", pair)
    whole(folder / "counting.json", [asked | {"image": "counting/1.jpg", "answer": "4"}])
    both = ["reach/1.jpg", "reach_d/1.png"]
    reached = [asked | {"image": both, "answer": said} for said in ("Yes", "No")]
    reached[1]["question"] = "Is the cat not left?"
    whole(folder / "reach.json", reached)


EMB = (
    "mp3d_0",
    "What is the relation of the chair to the table?",
    ["above", "left", "far", "close"],
)


def emb_spatial_hub(folder: Path) -> None:
    columns = {
        "question_id": TEXT, "question": TEXT, "answer_options": pa.list_(TEXT), "answer": NUMBER,
        "relation": TEXT, "data_source": TEXT, "image": PICTURE,
    }  # fmt: skip
    table(folder / "data" / "test-00000-of-00001.parquet", columns, (*EMB, 1, "left", "mp3d",
                                                                     struct(10)))  # fmt: skip


def emb_spatial_original(folder: Path) -> None:
    keys = ("question_id", "question", "answer_options")
    row = dict(zip(keys, EMB, strict=True)) | {
        "answer": 1, "relation": "left", "data_source": "mp3d",
        "image": base64.b64encode(encoded(10)).decode(),
    }  # fmt: skip
    whole(folder / "embspatial_bench.json", [row])


def real_world_qa(folder: Path) -> None:
    columns = {"question": TEXT, "answer": TEXT, "image": PICTURE}
    lettered = (
        "Which lane is closed?\n\nA. The left lane.\nB. The right lane.\nC. None.\n"
        "Please answer directly with only the letter of the correct option and nothing else."
    )
    free = "How many signs are there? Please answer directly with a single word or number."
    table(folder / "data" / "test-00000-of-00002.parquet", columns,
          (lettered, "B", struct(11)), (free, "3", struct(12)))  # fmt: skip


def coco_captions(folder: Path) -> None:
    put(folder, "val2017/000000000139.jpg")
    images = [{"id": 139, "file_name": "000000000139.jpg", "width": 48, "height": 32}]
    said = [{"image_id": 139, "id": n, "caption": f"A room with {n} chairs."} for n in range(5)]
    path = folder / "annotations" / "captions_val2017.json"
    whole(path, {"images": images, "annotations": said})


def coco_captions_hub(folder: Path) -> None:
    """A picture's file is its ``question_id``; ``id`` and ``file_name`` are of another one."""
    columns = {
        "question_id": TEXT, "image": PICTURE, "question": TEXT, "answer": pa.list_(TEXT),
        "id": NUMBER, "license": NUMBER, "file_name": TEXT, "coco_url": TEXT, "height": NUMBER,
        "width": NUMBER, "date_captured": TEXT,
    }  # fmt: skip
    asked = "Please carefully observe the image and come up with a caption for the image."
    captions = [f"A room with {n} chairs. " for n in range(5)]
    rest = (asked, captions, 38, 3, "000000000001.jpg", "http://images.cocodataset.org/1.jpg", 32,
            48, "2013-11-14 17:02:52")  # fmt: skip
    for year, prefix in (("2017", ""), ("2014", "COCO_val2014_")):
        path = folder / f"val{year}" / "data" / "val-00000-of-00002.parquet"
        rows = [(f"{prefix}{n:012d}.jpg", struct(n), *rest) for n in (139, 285)]
        table(path, columns, *rows)


def two_ds(folder: Path) -> None:
    """The spec knows no fields of ``objects``, and no type of ``entry_id`` but string."""
    pair = pa.struct({"question": TEXT, "answer": TEXT, "qa_category": TEXT})
    columns = {
        "entry_id": TEXT,
        "test_category": TEXT,
        "image_filename": PICTURE,
        "objects": pa.list_(pa.struct({"shape": TEXT})),
        "qa_pairs": pa.list_(pair),
    }
    asked = [
        {"question": "Where is the red circle?", "answer": "top left", "qa_category": "color_abs"},
        {"question": "What is left of the star?", "answer": "a cross", "qa_category": "shape_rel"},
    ]
    rows = [(str(n), "two shapes", struct(n), [{"shape": "star"}], asked) for n in range(3)]
    table(folder / "data" / "train-00000-of-00001.parquet", columns, *rows)


#: What was published: the set, a split, how many questions, and what writes the files.
PUBLISHED: dict[str, tuple[str, str, int, Callable[[Path], None]]] = {
    "pope, hub": ("pope", "random", 2, pope_hub),
    "pope, hub, Full": ("pope", "all", 6, pope_full),
    "pope, original": ("pope", "random", 2, pope_original),
    "mmvp": ("mmvp", "original", 4, mmvp),
    "mmvp, copy": ("mmvp", "corrected", 4, mmvp_copy),
    "gqa, hub": ("gqa", "testdev_balanced", 1, gqa_hub),
    "gqa, original": ("gqa", "testdev_balanced", 2, gqa_original),
    "gqa, all": ("gqa", "val_all", 3, gqa_all),
    "gqa, hub, all": ("gqa", "testdev_all", 2, gqa_hub),
    "cv-bench, hub": ("cv-bench", "all", 2, cv_bench_hub),
    "cv-bench, lines": ("cv-bench", "all", 2, cv_bench_lines),
    "vqa-v2, hub": ("vqa-v2", "validation", 1, vqa_hub),
    "vqa-v2, hub, hidden": ("vqa-v2", "testdev", 1, vqa_hub),
    "vqa-v2, original": ("vqa-v2", "validation", 1, vqa_original),
    "vqa-v2, original, hidden": ("vqa-v2", "testdev", 1, vqa_original),
    "vsr, zeroshot": ("vsr", "zeroshot-test", 2, vsr_zeroshot),
    "vsr, random": ("vsr", "random-test", 2, vsr_random),
    "whatsup, a": ("whatsup", "a", 4, whatsup),
    "whatsup, coco": ("whatsup", "coco-one", 1, whatsup),
    "whatsup, copy": ("whatsup", "b", 4, whatsup_copy),
    "whatsup, copy, coco": ("whatsup", "coco-one", 1, whatsup_copy),
    "blink": ("blink", "all", 2, blink),
    "blink, one": ("blink", "Spatial_Relation", 1, blink),
    "spatial-eval": ("spatial-eval", "vqa", 1, spatial_eval),
    "spatial-eval, text": ("spatial-eval", "tqa", 1, spatial_eval),
    "spatial-mm": ("spatial-mm", "one", 1, spatial_mm),
    "spatial-mm, hops": ("spatial-mm", "multihop", 1, spatial_mm),
    "spatial-bench": ("spatial-bench", "all", 6, spatial_bench),
    "spatial-bench, existence": ("spatial-bench", "existence", 2, spatial_bench),
    "spatial-bench, counting": ("spatial-bench", "counting", 1, spatial_bench),
    "spatial-bench, reach": ("spatial-bench", "reach", 2, spatial_bench),
    "emb-spatial, hub": ("emb-spatial", "test", 1, emb_spatial_hub),
    "emb-spatial, original": ("emb-spatial", "test", 1, emb_spatial_original),
    "real-world-qa": ("real-world-qa", "test", 2, real_world_qa),
    "2ds": ("2ds", "train", 6, two_ds),
    "coco-captions": ("coco-captions", "val2017", 1, coco_captions),
    "coco-captions, hub": ("coco-captions", "val2017", 2, coco_captions_hub),
    "coco-captions, hub, 2014": ("coco-captions", "val2014", 2, coco_captions_hub),
}
