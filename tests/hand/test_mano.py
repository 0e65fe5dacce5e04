"""MANO files of every kind, the hand model made of them, and its agreement with smplx."""

import contextlib
import io
import pickle
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from handrawer.hand import model as model_module
from handrawer.hand.anatomy import LIMITS, angles_to_rotations, rest_angles, rotations_to_angles, sample_angles
from handrawer.hand.gestures import GESTURES, gesture_angles
from handrawer.hand.hands import Frame, Hands, hand_from_gesture, make_hand
from handrawer.hand.joints import RIG_JOINTS, TIP_JOINTS
from handrawer.hand.mano import MANO_TO_RIG, TIP_VERTICES, from_mano, load_mano, mano_model, to_mano
from handrawer.hand.mano_files import ManoError, ManoFile, read_mano, save_mano
from handrawer.hand.model import HandModel, known_model, known_models, load_open_hand, register_model
from handrawer.hand.skinning import matrix_to_axis_angle, pose_hand
from tests.hand import mano_like
from tests.hand.mano_like import mano_arrays, write_npz, write_official, write_plain

SIDES = ("right", "left")


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, HandModel]:
    """Models that a test loads are known to that test alone."""
    known: dict[str, HandModel] = {}
    monkeypatch.setattr(model_module, "_REGISTERED", known)
    return known


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("mano")
    found = {}
    for side in SIDES:
        found[f"official {side}"] = write_official(folder / f"MANO_{side.upper()}.pkl", side)
        found[f"npz {side}"] = write_npz(folder / f"{side}.npz", side)
    found["protocol 0"] = write_official(folder / "old.pkl", protocol=0)
    found["safetensors right"] = folder / "right.safetensors"
    save_mano(read_mano(found["official right"]), found["safetensors right"])
    return found


@pytest.fixture(scope="module")
def mano(files: dict[str, Path]) -> dict[str, ManoFile]:
    return {side: read_mano(files[f"official {side}"]) for side in SIDES}


def test_every_kind_of_file_gives_the_same_numbers(files: dict[str, Path], tmp_path: Path):
    for name, path in files.items():
        side = "left" if "left" in name else "right"
        found, wanted = read_mano(path), mano_arrays(side)
        assert found.side == side, name
        for key, own in {"J_regressor": "joint_regressor", "f": "faces"}.items():
            assert np.array_equal(getattr(found, own), wanted[key]), (name, key)
        for key in ("v_template", "shapedirs", "posedirs", "weights", "hands_mean", "hands_components"):
            assert np.array_equal(getattr(found, key), wanted[key]), (name, key)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_pickles_without_chumpy(protocol: int, tmp_path: Path):
    pytest.importorskip("scipy", reason="scipy makes the sparse matrix")
    found = read_mano(write_plain(tmp_path / "MANO_RIGHT.pkl", protocol=protocol))
    assert np.array_equal(found.shapedirs, mano_arrays()["shapedirs"])
    assert np.array_equal(found.joint_regressor, mano_arrays()["J_regressor"])


@pytest.mark.parametrize("kind", ["csc_matrix", "csr_matrix"])
def test_npz_with_a_sparse_matrix(kind: str, tmp_path: Path):
    """As `np.savez(path, **pickled)` writes it: a pickle in the archive."""
    sparse = pytest.importorskip("scipy.sparse", reason="scipy makes the sparse matrix")
    matrix = getattr(sparse, kind)(mano_arrays()["J_regressor"])
    found = read_mano(write_npz(tmp_path / "MANO_RIGHT.npz", J_regressor=matrix))
    assert np.array_equal(found.joint_regressor, mano_arrays()["J_regressor"])


def parameters(n: int, side: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random shapes and poses as smplx takes them, double precision: any rotation of every joint."""
    generator = torch.Generator().manual_seed(seed + (side == "left"))

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64)

    return {"betas": 2 * normal(n, 10), "global_orient": 2 * normal(n, 3), "hand_pose": 0.7 * normal(n, 45),
            "transl": normal(n, 3)}  # fmt: skip


def smplx_mano(side: str, **options):
    """smplx's MANO on the arrays of our file."""
    smplx = pytest.importorskip("smplx", reason="smplx is not installed (extra [mano], non-commercial licence)")
    from smplx.utils import Struct

    with contextlib.redirect_stdout(io.StringIO()):  # it warns about the left file's shapes
        return smplx.MANO(
            f"MANO_{side.upper()}.pkl", is_rhand=side == "right", data_struct=Struct(**mano_arrays(side)), **options
        )


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("dtype, close", [(torch.float32, 1e-5), (torch.float64, 1e-6)])
def test_equals_smplx(mano: dict[str, ManoFile], side: str, dtype: torch.dtype, close: float):
    """Over 256 random poses and shapes; smplx keeps to the left file's shape directions."""
    theirs = smplx_mano(side, use_pca=False, flat_hand_mean=True, batch_size=256, dtype=dtype)
    given = {name: value.to(dtype) for name, value in parameters(256, side).items()}
    wanted = theirs(**{name: value.clone() for name, value in given.items()})
    model = mano_model(mano[side], mend_left=False).to(dtype=dtype)
    posed = pose_hand(model, **from_mano(mano[side], *given.values(), mend_left=False))
    assert (posed.vertices - wanted.vertices).norm(dim=-1).max() < close
    joints = posed.joints[:, list(RIG_JOINTS)]
    assert (joints - wanted.joints[:, list(MANO_TO_RIG)]).norm(dim=-1).max() < close
    tips = posed.joints[:, list(TIP_JOINTS)]
    assert (tips - wanted.vertices[:, list(TIP_VERTICES)]).norm(dim=-1).max() < close


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("components", [6, 12, 45])
def test_pca_and_mean_pose_are_smplx_s(mano: dict[str, ManoFile], flat: bool, components: int):
    theirs = smplx_mano(
        "right", use_pca=components < 45, num_pca_comps=components, flat_hand_mean=flat, batch_size=8,
        dtype=torch.float64,
    )  # fmt: skip
    given = parameters(8, "right")
    given["hand_pose"] = given["hand_pose"][:, :components]
    wanted = theirs(**{name: value.clone() for name, value in given.items()})
    given["hand_pose"] = mano["right"].hand_pose(given["hand_pose"], flat_hand_mean=flat)
    posed = pose_hand(mano_model(mano["right"]).to(dtype=torch.float64), **from_mano(mano["right"], *given.values()))
    assert (posed.vertices - wanted.vertices).norm(dim=-1).max() < 1e-6


def test_a_pose_of_a_wrong_length_is_refused(mano: dict[str, ManoFile]):
    for columns in (46, 60):
        with pytest.raises(ValueError, match="does not fit"):
            mano["right"].hand_pose(torch.zeros(1, columns))


@pytest.mark.parametrize("side", SIDES)
def test_to_mano_is_the_way_back(mano: dict[str, ManoFile], side: str):
    given = parameters(16, side)
    given["global_orient"] *= 0.5  # within half a turn, where axis-angles are unique
    ours = from_mano(mano[side], *given.values())
    back = to_mano(
        mano[side], matrix_to_axis_angle(ours["rotations"]), matrix_to_axis_angle(ours["orientation"]), ours["shape"],
        ours["translation"],
    )  # fmt: skip
    assert bool((ours["left"] == (side == "left")).all())
    kept = [i for i in range(16) if given["global_orient"][i].norm() < 3]
    joints = given["hand_pose"].view(16, 15, 3).norm(dim=-1) < 3
    for name, value in given.items():
        if name == "hand_pose":
            assert torch.allclose(back[name].view(16, 15, 3)[joints], value.view(16, 15, 3)[joints], atol=1e-9)
        else:
            assert torch.allclose(back[name][kept], value[kept], atol=1e-9), name


def test_left_file_is_the_mirrored_right_file(mano: dict[str, ManoFile]):
    """Its unmirrored shape directions are found and mended; kept where that is asked for."""
    right, left = mano_model(mano["right"]), mano_model(mano["left"])
    for name in ("template", "shape_dirs", "pose_dirs", "joint_template", "joint_shape_dirs", "weights"):
        assert torch.allclose(getattr(left, name), getattr(right, name), atol=1e-7), name
    assert torch.equal(left.tip_vertices, right.tip_vertices) and torch.equal(left.faces, right.faces)
    kept = mano_model(mano["left"], mend_left=False)
    assert torch.allclose(kept.template, right.template, atol=1e-7)
    assert not torch.allclose(kept.shape_dirs, right.shape_dirs, atol=1e-3)


def test_a_left_file_that_is_right_is_left_alone(tmp_path: Path):
    shapes = mano_arrays("left")["shapedirs"] * mano_like.MIRROR[:, None]
    mended = read_mano(write_npz(tmp_path / "left.npz", "left", shapedirs=shapes))
    assert torch.equal(mano_model(mended).shape_dirs, mano_model(mended, mend_left=False).shape_dirs)


def test_the_model_keeps_to_the_contract(files: dict[str, Path]):
    model, open_hand = load_mano(files["official right"]), load_open_hand()
    assert model.name == "mano" and model.template.shape == (778, 3) and model.shape_count == 10
    assert len(model.shape_names) == 10 and model.template.dtype == torch.float32
    assert torch.equal(model.joint_template[0], torch.zeros(3))
    assert torch.allclose(model.weights.sum(dim=1), torch.ones(778)) and model.weights.min() >= 0
    assert model.parents == open_hand.parents and torch.equal(model.parts, model.weights.argmax(dim=1))
    middle = model.joint_template[7] - model.joint_template[0]
    assert middle[1] < 0 and middle[:1].abs() < 0.2 * middle.norm(), "fingers up"
    assert model.joint_template[1, 0] > 0, "the thumb to the right"
    # The hand is the open hand's in another frame: turned back onto it.
    kept, _ = mano_like._decimated()
    away = model.template - open_hand.template[kept] * mano_like.SCALE
    assert away.norm(dim=-1).max() < 0.006
    assert torch.allclose(model.template[model.tip_vertices],
                          open_hand.template[open_hand.tip_vertices] * mano_like.SCALE, atol=0.006)  # fmt: skip
    a, b, c = model.template[model.faces].unbind(dim=1)
    outward = (torch.linalg.cross(b - a, c - a) * ((a + b + c) / 3 - model.template.mean(dim=0))).sum()
    assert outward > 0


def test_faces_point_out_however_the_file_winds_them(tmp_path: Path):
    one = load_mano(write_npz(tmp_path / "a.npz"))
    other = load_mano(write_npz(tmp_path / "b.npz", f=mano_arrays()["f"][:, ::-1]))

    def normals(model):
        a, b, c = model.template[model.faces].unbind(dim=1)
        return torch.linalg.cross(b - a, c - a)

    assert torch.allclose(normals(one), normals(other), atol=1e-9)


def test_any_mesh_has_its_tips(tmp_path: Path):
    """Another topology than MANO's: the tips are found where the fingers end."""
    arrays = mano_arrays()
    order = np.random.default_rng(0).permutation(779)
    more = np.concatenate([np.arange(778), [0]])[order]  # the first vertex twice
    number = np.argsort(order)
    by_vertex = {name: arrays[name][more] for name in ("v_template", "shapedirs", "posedirs", "weights")}
    regressor = arrays["J_regressor"][:, more] * np.where(more == 0, 0.5, 1)
    path = write_npz(tmp_path / "other.npz", "right", **by_vertex, f=number[arrays["f"]], J_regressor=regressor)
    model, usual = load_mano(path), mano_model(read_mano(write_npz(tmp_path / "usual.npz")))
    away = model.template[model.tip_vertices] - usual.template[usual.tip_vertices]
    assert away.norm(dim=-1).max() < 0.008


def test_anatomy_of_a_mano_model(files: dict[str, Path]):
    """The angles mean the same as on the open hand: they come back, and gestures bend the same way."""
    model, open_hand = load_mano(files["official right"]).to(dtype=torch.float64), load_open_hand()
    angles = sample_angles(200, torch.Generator().manual_seed(0)).double()
    again = rotations_to_angles(model, angles_to_rotations(model, angles))
    assert torch.allclose(again, angles, atol=1e-6)
    limits = LIMITS.double()
    rest = rest_angles(model).double()
    slack = torch.deg2rad(torch.tensor(8.0)).double()
    assert bool(((rest > limits[:, 0] - slack) & (rest < limits[:, 1] + slack)).all())
    for name in GESTURES:
        both = (open_hand, model.to(dtype=torch.float32))
        hands = [make_hand(each, angles=gesture_angles(name), width=512, height=512) for each in both]
        ours, theirs = ((hand.joints - hand.joints[0]) for hand in hands)
        away = (theirs / mano_like.SCALE - ours).norm(dim=-1)
        assert away.mean() < 0.006 and away.max() < 0.02, (name, away)


def test_kept_as_safetensors(files: dict[str, Path], tmp_path: Path):
    path = tmp_path / "kept.safetensors"
    for side in SIDES:
        save_mano(read_mano(files[f"official {side}"]), path, overwrite=True)
        again, before = read_mano(path), read_mano(files[f"official {side}"])
        assert again.side == side and torch.equal(again.shapedirs, before.shapedirs)
        assert torch.equal(mano_model(again).template, mano_model(before).template)
    with pytest.raises(ManoError, match="is there already"):
        save_mano(again, path)
    with pytest.raises(ManoError, match="name that ends so"):
        save_mano(again, tmp_path / "kept.npz")
    with pytest.raises(ManoError, match="cannot be written"):
        save_mano(again, tmp_path / "no" / "folder.safetensors")


def wrong_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that are no MANO model, and what the sentence says."""
    arrays = mano_arrays()

    def npz(name: str, **changes) -> Path:
        return write_npz(folder / f"{name}.npz", **changes)

    def text(name: str, content: bytes) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    late = arrays["v_template"].copy()
    late[5, 1] = np.nan
    tree = arrays["kintree_table"].copy()
    tree[0, 5] = 3
    turned = mano_like._rotation((0, 0, 1.2))
    return {
        "missing": (folder / "gone.pkl", "is not there"),
        "suffix": (text("MANO_RIGHT.pt", b""), "ends in none of"),
        "text": (text("a.pkl", b"hello"), "cannot be read"),
        "empty": (text("b.pkl", b""), "cannot be read"),
        "evil": (text("c.pkl", b"cos\nsystem\n(X" + struct.pack("<I", 4) + b"truetR."), "asks for 'os.system'"),
        "list": (text("d.pkl", pickle.dumps([1, 2])), "no table"),
        "other pickle": (text("e.pkl", pickle.dumps({"a": 1})), "has no v_template"),
        "npz text": (text("f.npz", b"hello"), "cannot be read"),
        "npz cut": (text("g.npz", npz("whole").read_bytes()[:1000]), "cannot be read"),
        "npz object": (npz("object", J_regressor=np.array({"a": 1}, dtype=object)), "has no J_regressor"),
        "npz evil": (npz("evil", J_regressor=np.array(print, dtype=object)), "asks for 'builtins.print'"),
        "safetensors text": (text("h.safetensors", b"hello"), "cannot be read"),
        "no weights": (npz("i", weights=None), "has no weights"),
        "body": (npz("j", J_regressor=np.zeros((24, 778))), "24 joints"),
        "shape": (npz("k", weights=np.ones((777, 16)) / 16), "its weights is not 778 x 16"),
        "nan": (npz("l", v_template=late), "its v_template is not"),
        "faces": (npz("m", f=arrays["f"] + 1), "faces name vertices"),
        "tree": (npz("n", kintree_table=tree), "another order"),
        "mean": (npz("o", hands_mean=np.zeros(3)), "mean pose"),
        "frame": (npz("p", v_template=arrays["v_template"] @ turned.T), "rest frame"),
        "folder": (folder, "ends in none of"),
    }


WRONG = (
    "missing", "suffix", "text", "empty", "evil", "list", "other pickle", "npz text", "npz cut", "npz object",
    "npz evil", "safetensors text", "no weights", "body", "shape", "nan", "faces", "tree", "mean", "frame", "folder",
)  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_are_one_sentence(name: str, tmp_path: Path):
    path, words = wrong_files(tmp_path)[name]
    with pytest.raises(ManoError) as caught:
        load_mano(path)
    sentence = str(caught.value)
    assert words in sentence and path.name in sentence and sentence.endswith(".")
    assert not re.search(r"[\n]|\.\.", sentence) and len(sentence) < 250


def test_a_loaded_model_is_known_by_name(files: dict[str, Path]):
    assert known_model("mano") is None and known_models() == ("open",)
    model = load_mano(files["official right"])
    assert known_model("mano") is model and known_models() == ("open", "mano")
    other = load_mano(files["npz left"], register=False)
    assert known_model("mano") is model
    register_model(other)
    assert known_model("mano") is other and known_model("open") is load_open_hand()
    with pytest.raises(ValueError, match="belongs to the hand that ships"):
        register_model(load_open_hand())


def test_hands_of_mano_to_json_and_back(files: dict[str, Path], registry: dict, tmp_path: Path):
    model = load_mano(files["official right"])
    hands = Hands((hand_from_gesture("peace", "left", 320, 240, model=model, shape=torch.linspace(-1, 1, 10)),))
    text = hands.to_json()
    assert '"vertices"' not in text
    again = Hands.from_json(text).frames[0].hands[0]
    for name in ("pose", "shape", "joints", "vertices"):
        assert torch.equal(getattr(again, name), getattr(hands.frames[0].hands[0], name)), name
    registry.clear()
    with pytest.raises(ValueError, match="'mano' is not at hand: load that hand model first"):
        Hands.from_json(text)
    whole = hands.to_json()  # without the model, the vertices are written
    assert torch.equal(Hands.from_json(whole).frames[0].hands[0].vertices, hands.frames[0].hands[0].vertices)
    other = mano_arrays()["v_template"] * 1.1
    load_mano(write_npz(tmp_path / "other.npz", v_template=other))
    with pytest.raises(ValueError, match="another hand model named 'mano'"):
        Hands.from_json(text)


def test_hands_of_mano_are_drawn(files: dict[str, Path]):
    """Beside hands of the open model, in one picture: whatever takes hands finds their models by name."""
    from handrawer.render.maps import render_layers

    model = load_mano(files["official right"])
    both = [hand_from_gesture("open", "right", 96, 64, centre=(x, 0.5), size=0.9, model=m).hands[0]
            for x, m in ((0.25, model), (0.75, None))]  # fmt: skip
    mask = render_layers(Frame(96, 64, tuple(both)), ["mask"])["mask"][0]
    left, right = (float((part > 0.5).float().mean()) for part in mask.split(48, dim=1))
    assert left > 0.1 and right > 0.1
