//! Arguments, exit codes, and the two kinds of output.

use crate::fixture::{Workshop, tide};

#[test]
fn exit_codes_tell_usage_from_failure_from_bad_input() {
    let workshop = Workshop::new();
    workshop.tide(&["--help"]).check(0, &["Exit codes:", "65"]);
    workshop.tide(&["--version"]).check(0, &["tide "]);
    workshop.tide(&["sign"]).check(64, &["--key"]);
    workshop.tide(&["sing"]).check(64, &["sing"]);
    workshop
        .tide(&["sign", "--key", "missing.key"])
        .check(66, &["cannot read missing.key", "No such file"]);
    std::fs::remove_dir_all(workshop.path("target")).unwrap();
    workshop
        .sign()
        .check(1, &["is not built yet: run tide build"]);
    workshop.tide(&["test"]).check(65, &["has no [test]"]);
}

#[test]
fn a_mistake_in_tide_toml_is_named_by_its_line() {
    let workshop = Workshop::new();
    workshop.write(
        "tide.toml",
        "[module]\nname = \"pump\"\nversion = \"1.2.0\"\ncounter = 7\npriority = 1\n",
    );
    workshop.sign().check(
        65,
        &["tide.toml:5: unknown field `priority`, expected one of `name`"],
    );
    workshop.tide(&["build"]).check(65, &["tide.toml:5:"]);
}

#[test]
fn json_output_is_one_object_whether_it_goes_well_or_not() {
    let workshop = Workshop::new();
    let well = workshop
        .tide(&["sign", "--key", "publisher.key", "-o", "json"])
        .check(0, &[]);
    assert_eq!(well.json()["ok"], true);
    assert_eq!(well.json()["release"]["counter"], 7);
    let ill = workshop
        .tide(&["sign", "--key", "root.json", "-o", "json"])
        .check(65, &[]);
    assert_eq!(ill.json()["ok"], false);
    assert_eq!(ill.json()["exit_code"], 65);
    assert!(ill.stderr.starts_with("tide: "));
}

#[test]
fn a_new_module_has_a_name_that_can_be_one_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["../escape", "/tmp/x", "Pump", "7-pumps", ""] {
        tide(folder.path(), &["new", name]).check(64, &["module name"]);
    }
    tide(folder.path(), &["new", "pump", "--template", "blank"])
        .check(64, &["none of the templates: map"]);
    tide(folder.path(), &["new", "pump"]).check(0, &["cd pump"]);
    tide(folder.path(), &["new", "pump"]).check(64, &["is there already"]);
    let count = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(count, 1);
}

#[test]
fn a_token_comes_from_a_private_file_or_the_environment_and_from_no_argument() {
    let workshop = Workshop::new();
    workshop.sign().check(0, &[]);
    let push = [
        "push",
        "pump-1.2.0.tidegate",
        "--centre",
        "http://127.0.0.1:1",
    ];
    let with = |further: &[&str]| workshop.tide(&[&push[..], further].concat());
    with(&[]).check(64, &["--token-file FILE, or set TIDEGATE_TOKEN"]);
    with(&["--token", "tgt_x"]).check(64, &["unexpected argument"]);
    with(&["--token-file", "missing"]).check(66, &["cannot read missing"]);
    workshop.write("token", "tgt_x\n");
    let open = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(workshop.path("token"), mode).unwrap();
    };
    open(0o644);
    with(&["--token-file", "token"]).check(65, &["can be read by others: chmod 600 token"]);
    open(0o600);
    with(&["--token-file", "token"]).check(1, &["cannot be reached"]);
}
