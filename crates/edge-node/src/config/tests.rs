use super::*;

fn layers(file: FileLayer, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Layers {
    let own = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    Layers { file, environment: own(environment), flags: own(flags) }
}

fn flags(flags: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(&layers(FileLayer::Nothing, &[], flags))
}

fn origin(config: &Config, key: &str) -> Origin {
    config.origins().find(|setting| setting.key == key).unwrap().origin
}

#[test]
fn the_defaults_have_every_key_and_no_other() {
    let table: toml::Table = DEFAULTS.parse().unwrap();
    let mut keys: Vec<_> = table.keys().map(String::as_str).collect();
    keys.sort_unstable();
    let mut known = KEYS.to_vec();
    known.sort_unstable();
    assert_eq!(keys, known);
    let config = flags(&[]).unwrap();
    assert_eq!(config.port, Port::FirstFree { from: 3_141, to: 3_241 });
    assert_eq!((config.cpu.per_mille(), config.cpu_idle.per_mille()), (250, 800));
    assert_eq!((config.memory.0, config.idle.as_secs()), (512 << 20, 300));
    assert!(config.workers >= 1 && config.works && config.mdns && config.token.is_none());
    assert_eq!(config.exposure, Credits::from_whole(10).unwrap());
    assert!(config.origins().all(|s| s.origin == Origin::Default));
    config.log.parse::<tracing_subscriber::EnvFilter>().unwrap();
}

#[test]
fn flags_beat_variables_beat_the_file_beat_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.toml");
    std::fs::write(&path, "cpu = 40\nmemory = \"1GiB\"\nworkers = 3\nlisten = []\n").unwrap();
    let file = FileLayer::Exactly(path.clone());
    let environment = [("EDGE_NET_MEMORY", "2GiB"), ("EDGE_NET_WORKERS", "4"), ("HOME", "/x")];
    let config = Config::load(&layers(file, &environment, &[("workers", "5")])).unwrap();
    assert_eq!((config.cpu.per_mille(), config.memory.0, config.workers), (400, 2 << 30, 5));
    assert_eq!(origin(&config, "cpu"), Origin::File(path));
    assert_eq!(origin(&config, "memory"), Origin::Environment("EDGE_NET_MEMORY".into()));
    assert_eq!(origin(&config, "workers"), Origin::Flag("workers".into()));
    assert_eq!(origin(&config, "cpu_idle"), Origin::Default);
    assert!(config.listen.is_empty());
}

#[test]
fn an_unknown_key_names_the_nearest_in_every_layer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.toml");
    std::fs::write(&path, "bootstap = []\n").unwrap();
    let cases = [
        (layers(FileLayer::Exactly(path), &[], &[]), "bootstap", "bootstrap"),
        (layers(FileLayer::Nothing, &[("EDGE_NET_MEMROY", "1")], &[]), "memroy", "memory"),
        (layers(FileLayer::Nothing, &[], &[("cpu-ilde", "1")]), "cpu_ilde", "cpu_idle"),
    ];
    for (layers, wrong, right) in cases {
        match Config::load(&layers) {
            Err(ConfigError::UnknownKey { key, nearest, .. }) => {
                assert_eq!((key.as_str(), nearest), (wrong, Some(right)));
            }
            other => panic!("{wrong}: {other:?}"),
        }
    }
    // What resembles nothing is not guessed at.
    let error = Config::load(&layers(FileLayer::Nothing, &[], &[("foo", "1")])).unwrap_err();
    assert_eq!(error.to_string(), "unknown setting `foo` (--foo)");
    // Read by the kernels, not by us.
    assert!(Config::load(&layers(FileLayer::Nothing, &[("EDGE_NET_SIMD", "scalar")], &[])).is_ok());
}

#[test]
fn a_missing_or_broken_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.toml");
    let error = Config::load(&layers(FileLayer::Exactly(missing.clone()), &[], &[])).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable { path, .. } if path == missing));
    let broken = folder.path().join("broken.toml");
    std::fs::write(&broken, "cpu = = 3").unwrap();
    let error = Config::load(&layers(FileLayer::Exactly(broken.clone()), &[], &[])).unwrap_err();
    assert!(matches!(error, ConfigError::Syntax { path, .. } if path == broken));
}

#[test]
fn values_that_a_key_does_not_take_are_refused_by_name() {
    for (key, value) in [
        ("cpu", "120%"),
        ("cpu", "much"),
        ("cpu", "NaN"),
        ("memory", "12 parsecs"),
        ("memory", "99999999999GiB"),
        ("port", "70000"),
        ("port", "-1"),
        ("mdns", "perhaps"),
        ("bind", "localhost"),
        ("idle", "5 fortnights"),
        ("exposure", "1.0000001"),
    ] {
        match flags(&[(key, value)]) {
            Err(ConfigError::Value { key: named, origin, reason }) => {
                assert_eq!((named, origin), (key, Origin::Flag(key.to_owned())));
                assert!(!reason.is_empty());
            }
            other => panic!("{key}={value}: {other:?}"),
        }
    }
}

#[test]
fn what_can_never_run_is_refused() {
    let never: [&[(&str, &str)]; 6] = [
        &[("cpu", "0"), ("cpu-idle", "0")],
        &[("workers", "5000")],
        &[("memory", "1MiB")],
        &[("bind", "0.0.0.0")],
        &[("listen", ""), ("mdns", "off")],
        &[("namespace", "a name that is longer than the sixty-four bytes a pool's name may have")],
    ];
    for case in never {
        let error = flags(case).unwrap_err();
        assert!(matches!(error, ConfigError::NeverRuns { .. }), "{case:?}: {error}");
    }
    let fine: [&[(&str, &str)]; 4] = [
        &[("cpu", "0")],
        &[("bind", "0.0.0.0"), ("token", "secret")],
        &[("listen", ""), ("mdns", "off"), ("works", "false")],
        &[("bind", "::1")],
    ];
    for case in fine {
        flags(case).unwrap();
    }
}

#[test]
fn a_port_that_was_set_is_meant() {
    assert_eq!(flags(&[("port", "0")]).unwrap().port, Port::Exactly(0));
    assert_eq!(flags(&[("port", "3141")]).unwrap().port, Port::Exactly(3_141));
}

#[test]
fn a_token_is_not_shown() {
    let config = flags(&[("token", "hunter2")]).unwrap();
    assert_eq!(config.token.as_deref(), Some("hunter2"));
    assert!(config.origins().all(|setting| !setting.value.contains("hunter2")));
}

#[test]
fn distances() {
    for (a, b, d) in [("", "", 0), ("cpu", "", 3), ("cpu", "cpu", 0), ("kitten", "sitting", 3)] {
        assert_eq!(distance(a, b), d);
    }
}

/// The document of the settings has every key with its variable and no other.
#[test]
fn every_key_is_documented() {
    let document = include_str!("../../../../docs/configuration.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: Vec<_> = rows.map(|row| row.split('`').next().unwrap()).collect();
    assert_eq!(documented, KEYS);
    for key in KEYS {
        assert!(document.contains(&format!("`EDGE_NET_{}`", key.to_uppercase())), "{key}");
    }
}
