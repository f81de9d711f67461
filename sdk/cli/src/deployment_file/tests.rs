use tidegate_bundle::{Check, SecretRef, Shadow};
use tidegate_settings::Problem;

use super::read::read;
use super::*;

/// The example of the guide: what is shown there can be copied.
const GUIDE: &str = include_str!("../../../../docs/guides/cli.md");

fn example() -> &'static str {
    let (_, rest) = GUIDE
        .split_once("```toml\n# deployments/pumps.toml")
        .unwrap();
    rest.split_once("```").unwrap().0
}

fn read_text(text: &str) -> Result<DeploymentFile, Vec<Problem>> {
    read(text, Path::new("deployments"))
}

#[test]
fn the_example_of_the_guide_says_all_that_a_deployment_can() {
    let file = read_text(example()).unwrap();
    assert_eq!(file.target, Target::GroupId("pumps".to_owned()));
    assert_eq!(file.seq, 12);
    assert_eq!(
        file.expires_after,
        Some(std::time::Duration::from_secs(90 * 86_400))
    );
    assert_eq!(file.rollout.check, Check::Equal);
    assert_eq!(file.rollout.shadow, Shadow::Messages(1_000));
    let [pump, older] = &file.modules[..] else {
        panic!("{:?}", file.modules)
    };
    let bundle = Path::new("deployments/../releases/pump-watch-0.1.0.tidegate");
    assert!(matches!(&pump.release, ReleaseRef::Bundle(path) if path == bundle));
    assert!(matches!(older.release, ReleaseRef::Digest(_)));
    let token = SecretRef::File("pump-token".to_owned());
    assert_eq!(pump.config["token"], ConfigValue::Secret(token));
    assert_eq!(pump.config["limit"], ConfigValue::Text("85".to_owned()));
    assert_eq!(pump.flags["enabled"], Flag::Switch(true));
    assert_eq!(pump.flags["mode"], Flag::Text("strict".to_owned()));
    assert_eq!((pump.inputs.len(), pump.grants.publish.len()), (1, 1));
    assert_eq!(pump.streams[0].region.as_deref(), Some("eu"));
    assert!(pump.streams[0].may_leave_site);
    assert_eq!(file.downgrades.len(), 1);
}

#[test]
fn all_mistakes_are_told_at_once_with_their_lines() {
    let text = "\
grup = \"pumps\"
seq = 0
[rollout]
check = \"same\"
shadow-messages = 10
shadow-minutes = 10
cpu-percent-max = 20000
probation-minutes = 5
attempts = 3
[[module]]
name = \"pump\"
bundle = \"pump.tidegate\"
release = \"abc\"
inputs = [{ from = \"plant\", topic = \"a/#/b\" }]
config = { \"flag.x\" = \"1\", limit = 85, token = { file = \"../etc\" }, other = { path = \"x\" } }
flags = { enabled = \"no\" }
[[module]]
name = \"pump\"
[[module.stream]]
name = \"alarms\"
may-leave = false
[[downgrade]]
module = \"pump\"
";
    let problems = read_text(text).unwrap_err();
    let told: Vec<_> = problems.iter().map(Problem::to_string).collect();
    for (line, words) in [
        (1, "exactly one of gateway and group"),
        (1, "unknown key grup in [the file], did you mean group?"),
        (2, "seq: a whole number from 1 to"),
        (3, "latency-percent-max is missing in [rollout]"),
        (4, "\"same\" is none of"),
        (6, "exactly one of shadow-messages and shadow-minutes"),
        (7, "cpu-percent-max: a whole number from 1 to 10000"),
        (13, "exactly one of bundle and release"),
        (13, "is not a digest"),
        (14, "topic: \"a/#/b\" is no topic filter"),
        (15, "flag.x: the key begins with flag., as only flags do"),
        (
            15,
            "limit: a text in quotes is expected, or where a secret is",
        ),
        (15, "file: \"../etc\" must be 1 to 64 characters"),
        (15, "exactly one of file, credential and environment"),
        (16, "enabled: true or false is expected"),
        (17, "exactly one of bundle and release"),
        (18, "there is another module with \"pump\""),
        (21, "unknown key may-leave in [stream]"),
        (22, "to-counter is missing in [downgrade]"),
    ] {
        let found = told
            .iter()
            .any(|it| it.starts_with(&format!("line {line}: ")) && it.contains(words));
        assert!(found, "line {line}: {words} is not in {told:#?}");
    }
}
