use super::on_disk;
use super::writer::{Writer, array, f32s, string};
use crate::gguf::{Array, File, Kind, Value};

#[test]
fn every_type_of_value_is_read() {
    let mut writer = Writer::new();
    let nested = [array(0, 2, &[1, 2]), array(8, 1, &string("é"))].concat();
    writer
        .raw("u8", 0, &[200])
        .raw("i8", 1, &[200])
        .raw("u16", 2, &60_000_u16.to_le_bytes())
        .raw("i16", 3, &(-300_i16).to_le_bytes())
        .u32("u32", u32::MAX)
        .raw("i32", 5, &i32::MIN.to_le_bytes())
        .f32("f32", 1e-5)
        .bool("bool", true)
        .string("string", "häß")
        .raw("u64", 10, &u64::MAX.to_le_bytes())
        .raw("i64", 11, &i64::MIN.to_le_bytes())
        .raw("f64", 12, &0.1_f64.to_le_bytes())
        .i32s("i32s", &[-1, 7])
        .raw("bools", 9, &array(7, 2, &[0, 1]))
        .strings::<&str>("none", &[])
        .raw("nested", 9, &array(9, 2, &nested));
    let (_dir, path) = on_disk(&writer.bytes());
    let file = File::open(&path).unwrap();
    let value = |key: &str| file.metadata()[key].clone();
    let values = |key: &str| -> Vec<Value> { value(key).as_scalars().unwrap().values().collect() };
    for (key, expected) in [
        ("u8", Value::Unsigned(200)),
        ("i8", Value::Signed(-56)),
        ("u16", Value::Unsigned(60_000)),
        ("i16", Value::Signed(-300)),
        ("u32", Value::Unsigned(u32::MAX.into())),
        ("i32", Value::Signed(i32::MIN.into())),
        ("f32", Value::F32(1e-5)),
        ("bool", Value::Bool(true)),
        ("string", Value::String("häß".to_owned())),
        ("u64", Value::Unsigned(u64::MAX)),
        ("i64", Value::Signed(i64::MIN)),
        ("f64", Value::F64(0.1)),
        ("none", Value::Array(Array::Strings(vec![]))),
    ] {
        assert_eq!(value(key), expected, "{key}");
    }
    assert_eq!(values("i32s"), [Value::Signed(-1), Value::Signed(7)]);
    assert_eq!(values("bools"), [Value::Bool(false), Value::Bool(true)]);
    let Value::Array(Array::Arrays(arrays)) = value("nested") else {
        panic!("{:?}", value("nested"))
    };
    assert_eq!(arrays[0].len(), 2);
    assert_eq!(arrays[1], Array::Strings(vec!["é".to_owned()]));
}

#[test]
fn a_number_keeps_the_decimal_that_it_was_written_as() {
    assert_eq!(Value::F32(1e-5).as_f64(), Some(1e-5));
    assert_eq!(Value::F32(500_000.0).as_f64(), Some(500_000.0));
    assert_eq!(Value::Signed(-1).as_u64(), None);
    assert_eq!(Value::Signed(3).as_u64(), Some(3));
}

#[test]
fn both_versions_and_any_power_of_two_as_alignment_are_read() {
    for (version, alignment) in [(2, 32), (3, 1), (3, 64), (3, 4096)] {
        let mut writer = Writer::new();
        writer.version = version;
        writer.alignment = alignment;
        writer
            .u32("general.alignment", alignment as u32)
            .tensor("a", &[3], Kind::F32, &f32s(&[1.0, 2.0, 3.0]))
            .tensor("b", &[2, 2], Kind::F32, &f32s(&[4.0, 5.0, 6.0, 7.0]));
        let (_dir, path) = on_disk(&writer.bytes());
        let file = File::open(&path).unwrap();
        assert_eq!(file.version(), version);
        assert_eq!(file.rows("a", 0..1).unwrap(), [1.0, 2.0, 3.0]);
        assert_eq!(file.rows("b", 1..2).unwrap(), [6.0, 7.0]);
    }
}

#[test]
fn shapes_are_those_of_hugging_face_and_rows_those_of_the_file() {
    let mut writer = Writer::new();
    let blocks: Vec<u8> = (0..3 * 2 * 34).map(|byte| byte as u8).collect();
    writer.tensor("w", &[3, 64], Kind::Q8_0, &blocks);
    let (_dir, path) = on_disk(&writer.bytes());
    let file = File::open(&path).unwrap();
    let tensor = file.tensor("w").unwrap();
    assert_eq!((tensor.rows(), tensor.row_len()), (3, 64));
    assert_eq!((tensor.row_bytes(), tensor.bytes()), (68, 204));
    assert_eq!(tensor.shape, [3, 64]);
    assert_eq!(file.blocks("w", 0..3).unwrap(), blocks);
    assert_eq!(file.blocks("w", 1..2).unwrap(), blocks[68..136]);
    assert!(file.blocks("w", 2..2).unwrap().is_empty());
    assert_eq!(file.rows("w", 1..3).unwrap().len(), 128);
    assert!(
        file.rows("w", 2..4)
            .unwrap_err()
            .to_string()
            .contains("rows 2..4")
    );
    assert!(
        file.rows("v", 0..1)
            .unwrap_err()
            .to_string()
            .contains("`v`")
    );
}

#[test]
fn a_file_without_tensors_needs_no_padding() {
    let mut writer = Writer::new();
    writer.string("general.architecture", "llama").alignment = 1;
    let (_dir, path) = on_disk(&writer.bytes());
    assert!(File::open(&path).unwrap().tensors().is_empty());
}
