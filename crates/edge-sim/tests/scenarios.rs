//! Scenario x seed: no run may break a rule, equal runs are equal, and every mutant is caught.
#![allow(clippy::unwrap_used)]

use edge_sim::{
    Attack, Attacked, Campaign, Counted, Mutant, Options, Outcome, Scenario, Setup, Sybil,
    replay_command, simulate,
};

fn scale() -> u64 {
    std::env::var("EDGE_TEST_SCALE").ok().and_then(|s| s.parse().ok()).unwrap_or(1)
}

fn run(name: &str, seed: u64, options: Options) -> Outcome {
    simulate(Scenario::named(name).unwrap(), seed, options)
}

fn check(name: &str, seed: u64) -> Outcome {
    let options = Options::default();
    let outcome = run(name, seed, options);
    assert!(
        outcome.violations.is_empty(),
        "{:#?}\nreplay: {}",
        outcome.violations,
        replay_command(&outcome, &options, None)
    );
    outcome
}

#[test]
fn a_pool_made_by_tickets_works() {
    for seed in 0..3 * scale() {
        let outcome = check("smoke", seed);
        assert_eq!(outcome.tasks_done, outcome.tasks as u64, "{:?}", outcome.tasks_failed);
        assert!(outcome.escrows.settled > 0 && outcome.records_acknowledged > 0);
    }
}

#[test]
fn mixed_faults_break_no_rule() {
    let scenario = Scenario::named("mixed-faults").unwrap();
    assert_eq!((scenario.peers, scenario.witnesses), (50, 7));
    let mut lies = 0;
    // In seed 15 two holders differ about an append and the third dies between commit and reveal:
    // the owner has to settle it by its own replay.
    for seed in (1_000..1_000 + 2 * scale()).chain([15]) {
        let outcome = check("mixed-faults", seed);
        assert!(!outcome.tasks_failed.keys().any(|reason| reason.contains("no root of it")));
        assert!(outcome.tasks >= 200, "{}", outcome.tasks);
        // Callers whose nodes crash or are cut off get reasons instead of results, but few.
        let wanted = outcome.tasks as u64 - outcome.tasks_cancelled - outcome.tasks_abandoned;
        assert!(outcome.tasks_done * 100 >= wanted * 95, "{:?}", outcome.tasks_failed);
        assert!(outcome.tasks_cancelled > 0 && outcome.tasks_abandoned > 0);
        assert_eq!(outcome.liars_named, outcome.liars);
        assert_eq!(outcome.escrows.open + outcome.escrows.frozen, 0);
        lies += outcome.lies;
    }
    assert!(lies > 40, "{lies} lies: the liars are asleep");
}

/// An attack holds its line, and succeeds when nobody defends: the whole campaigns are in `nightly`.
#[test]
fn attacks_by_wrong_results_hold_their_line_and_need_their_defence() {
    for name in ["attack/colluding-answers", "attack/patient-liars"] {
        let options = Options { no_signatures: true, ..Options::default() };
        let scenario = Scenario::named(name).unwrap();
        let line = scenario.attack.and_then(|attack| attack.wrong_results()).unwrap();
        let runs: Vec<Outcome> = (1..=2 + scale()).map(|seed| run(name, seed, options)).collect();
        for outcome in &runs {
            assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
            assert_eq!(outcome.tasks_done, outcome.tasks as u64, "{:?}", outcome.tasks_failed);
            assert_eq!((outcome.liars, outcome.liars_named), (6, 6), "{name}");
            let Some(Attacked::WrongResults(attack)) = &outcome.attack else { panic!() };
            assert_eq!(attack.stake_lost, (outcome.liars as u64 * line.stake) as f64);
            // Others' rules let more through, or cost more, or both.
            assert!(attack.rivals.iter().all(|rival| rival.wrong_ppm > 4.0 * line.wrong_ppm));
        }
        let attacks = runs.into_iter().filter_map(|outcome| match outcome.attack {
            Some(Attacked::WrongResults(attack)) => Some(attack),
            Some(Attacked::DoubleSpend(_) | Attacked::Counted(_)) | None => None,
        });
        let attacks: Vec<_> = attacks.collect();
        // The bound of the mean is for many seeds, as in `nightly`.
        let campaign = Campaign::of(name, &line, &attacks).unwrap();
        assert!(campaign.wrong_ppm <= line.wrong_ppm && campaign.work <= line.work, "{campaign:?}");
        let control = run(name, 1, Options { no_defence: true, ..options });
        assert!(control.violations.iter().any(|found| found.checker == "attack"), "{name}");
    }
}

/// Workers that take work and give nothing are found out after a few tasks, and asked for little.
#[test]
fn who_breaks_promises_is_asked_less() {
    let options = Options { no_signatures: true, ..Options::default() };
    let seeds = 4 + 3 * scale();
    let p99 = |no_defence: bool| {
        let mut times: Vec<f64> = Vec::new();
        for seed in 1..=seeds {
            let outcome = run("unreliable-workers", seed, Options { no_defence, ..options });
            assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
            assert_eq!(outcome.tasks_done, outcome.tasks as u64);
            times.push(outcome.task_p99_ms);
        }
        // What it takes to find out about six workers is near one task in a hundred: some seeds miss it.
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (with, without) = (p99(false), p99(true));
    assert!(with * 10.0 < without, "p99 {with} ms, and {without} ms when nobody looks at outcomes");
}

/// Two blocks for one place: at most one is certified and everybody knows the cheat, whatever f
/// witnesses do. Witnesses that forget what they voted for let both through.
#[test]
fn nothing_is_spent_twice_while_witnesses_remember() {
    for name in ["attack/double-spend", "attack/byzantine"] {
        for signed in [true, false] {
            let options = Options { no_signatures: !signed, ..Options::default() };
            for seed in 1..=scale() {
                let outcome = run(name, seed, options);
                assert!(outcome.violations.is_empty(), "{name}: {:#?}", outcome.violations);
                let Some(Attacked::DoubleSpend(attack)) = &outcome.attack else { panic!() };
                assert_eq!((attack.cheats, attack.faulty_witnesses), (6, 2));
                assert_eq!(attack.certified_twice, 0);
                assert!(attack.certified > 0 && attack.shown > 500, "{attack:?}");
                assert_eq!(attack.nonsense > 100, name == "attack/byzantine");
                assert!(attack.rounds > 0.0 && attack.rounds <= 5.0, "{attack:?}");
                assert!(outcome.escrows.settled > 0);
            }
        }
        let options = Options { no_signatures: true, no_defence: true, ..Options::default() };
        let control = run(name, 1, options);
        let twice = |checker: &str| control.violations.iter().any(|v| v.checker == checker);
        assert!(twice("one-certificate"), "{name}: {:#?}", control.violations);
    }
}

/// With more than f faulty witnesses both are certified: the conflict names them and nobody else.
#[test]
fn too_many_faulty_witnesses_are_named_by_their_conflict() {
    let options = Options { no_signatures: true, ..Options::default() };
    let outcome = run("attack/byzantine-beyond", 1, options);
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
    let Some(Attacked::DoubleSpend(attack)) = &outcome.attack else { panic!() };
    assert_eq!((attack.faulty_witnesses, attack.certified_twice), (3, attack.cheats));
    // Where honest ones forget, they would be named as well.
    let control = run("attack/byzantine-beyond", 1, Options { no_defence: true, ..options });
    assert!(control.violations.iter().any(|v| v.text.contains("culprits")));
}

fn counted(outcome: &Outcome) -> &Counted {
    match &outcome.attack {
        Some(Attacked::Counted(counted)) => counted,
        other => panic!("{other:?}"),
    }
}

/// Frames of every kind, shown again after a handover, after restarts and in another pool, change
/// nothing; where nodes forget what is over, and another pool checks no signature, they do.
#[test]
fn what_was_said_before_changes_nothing_when_it_is_said_again() {
    for seed in 1..=2 * scale() {
        let outcome = check("attack/replay", seed);
        let counted = counted(&outcome);
        assert!(counted.get("replayed") >= 2_000.0 && counted.get("kinds") >= 34.0, "{counted:?}");
        assert_eq!(counted.get("accepted"), 0.0);
    }
    let control = run("attack/replay", 1, Options { no_defence: true, ..Options::default() });
    let took = |words: &str| control.violations.iter().any(|v| v.text.contains(words));
    assert!(took("it stores in shards") && took("it stores in pool"), "{:#?}", control.violations);
    assert!(took("a node of another pool took"), "{:#?}", control.violations);
}

/// Who computes nothing is paid nothing, whatever it learns from what the protocol shows. Where answers
/// are public before everybody is bound, copies are paid; and where somebody who computed gives its
/// answer away, which no commitment prevents.
#[test]
fn copied_answers_are_not_paid() {
    for seed in 1..=scale() {
        let outcome = check("attack/copied-answers", seed);
        let counted = counted(&outcome);
        assert!(counted.get("copies") >= 200.0, "{counted:?}");
        assert_eq!(counted.get("paid"), 0.0);
        assert_eq!(outcome.tasks_done, outcome.tasks as u64);
    }
    let options = Options { no_signatures: true, ..Options::default() };
    let control = run("attack/copied-answers", 1, Options { no_defence: true, ..options });
    assert!(counted(&control).get("paid") > 200.0, "{:?}", control.attack);
    assert!(control.violations.iter().any(|v| v.checker == "attack"));
    let shared = run("shared-answers", 1, options);
    assert!(counted(&shared).get("paid") > 0.0, "{:?}", shared.attack);
}

/// A thousand identities of one member earn it nothing, get the work of one, and cost it its stake;
/// where invitations are free and everybody is a voice of its own they earn, and lie as they like.
#[test]
fn a_thousand_identities_are_one_voice() {
    let options = Options { no_signatures: true, ..Options::default() };
    for seed in 1..=2 * scale() {
        let outcome = run("attack/sybil", seed, options);
        assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
        let counted = counted(&outcome);
        assert_eq!((counted.get("identities"), counted.get("known")), (1_000.0, 14.0));
        assert!(counted.get("assigned_to_identities") > 20.0, "{counted:?}");
        assert!(counted.get("profit") <= 0.0 && counted.get("lies_accepted") == 0.0, "{counted:?}");
        assert_eq!(outcome.tasks_done, outcome.tasks as u64);
    }
    let scenario = Scenario::named("attack/sybil").unwrap();
    let fewer =
        Scenario { attack: Some(Attack::Sybil(Sybil { identities: 200, stake: 10 })), ..scenario };
    let control = simulate(fewer, 1, Options { no_defence: true, ..options });
    let counted = counted(&control);
    assert!(counted.get("known") == 200.0 && counted.get("profit") > 0.0, "{counted:?}");
    assert!(counted.get("lies_accepted") > 100.0, "{counted:?}");
}

/// Who hears attackers only believes none of their lies and nothing old, and notices; who does not look
/// believes them, and works on escrows that ended long ago.
#[test]
fn who_is_surrounded_notices_and_believes_nobody() {
    let options = Options { no_signatures: true, ..Options::default() };
    let mut given = 0.0;
    for seed in 0..3 * scale() {
        let outcome = run("attack/eclipse", seed, options);
        assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
        let counted = counted(&outcome);
        assert_eq!(counted.get("percent"), [30.0, 60.0, 90.0][seed as usize % 3]);
        assert!(counted.get("noticed_after_intervals") <= 3.0, "{counted:?}");
        assert!(counted.get("shown") > 50.0);
        given += counted.get("unpaid_work_given");
        assert_eq!(counted.get("taken") + counted.get("lies_accepted"), 0.0, "{counted:?}");
        assert_eq!(outcome.tasks_done, outcome.tasks as u64);
    }
    assert!(given > 50.0, "{given}");
    // Not in every run somebody asks the victim for what the attacker lies about.
    let succeeds = (0..10).any(|seed| {
        let control = run("attack/eclipse", seed, Options { no_defence: true, ..options });
        let found = |words: &str| control.violations.iter().any(|v| v.text.contains(words));
        found("the victim did not notice")
            && found("the victim believed")
            && found("on an ended escrow")
    });
    assert!(succeeds, "nothing came of it in ten runs without the defence");
}

/// Every ledger is what an independent fold of the checkpoints comes to, and what is certified was drawn,
/// executed and true, whatever attackers invent, copy and agree on. Where witnesses do not look, the
/// attackers' made-up results are what is minted for.
#[test]
fn new_credits_are_for_what_the_drawn_executed() {
    let (mut ground, mut foreseen) = (0.0, 0.0);
    for seed in 1..=2 * scale() {
        let outcome = check("attack/minting", seed);
        let counted = counted(&outcome);
        let figure = |name: &str| counted.get(name);
        assert!(figure("epochs") >= 15.0 && figure("certified") >= 80.0, "{counted:?}");
        // Of fifteen nodes at nearly every epoch.
        assert!(figure("ledgers_compared") >= 14.0 * figure("epochs"), "{counted:?}");
        let made = ["minted_micro", "promised_micro", "set_aside_micro"].map(figure);
        assert!(made[0] > 0.0 && made.iter().sum::<f64>() <= figure("cap_micro"), "{counted:?}");
        for tried in ["offers_made_up", "commits_without_work", "reveals_copied"] {
            assert!(figure(tried) > 10.0, "{tried}: {counted:?}");
        }
        assert!(figure("statements_shown_again") > 100.0 && figure("presence_made_up") > 10.0);
        assert!(figure("certified_invented") < figure("named_invented"), "{counted:?}");
        assert_eq!(outcome.tasks_done, outcome.tasks as u64);
        ground += figure("ground_places");
        foreseen += figure("ground_places_if_foreseen");
    }
    assert!(ground < foreseen, "{ground} of {foreseen}: the draw can be foreseen");
    let options = Options { no_signatures: true, no_defence: true, ..Options::default() };
    let control = run("attack/minting", 1, options);
    let found = |words: &str| control.violations.iter().any(|v| v.text.contains(words));
    assert!(found("committed to by others than the drawn"), "{:#?}", control.violations);
    assert!(found("of what nobody can have"), "{:#?}", control.violations);
    assert!(counted(&control).get("lies_certified") > 5.0, "{:?}", control.attack);
}

/// Owners that fork their logs are found against everywhere, an owner whose disk was restored is not, and
/// nothing comes of false contests and ballots. Where nobody looks at contradictions nobody is found
/// against, and honest holders are named by the heads they were not given; where signatures are not looked
/// at, honest owners are named.
#[test]
fn who_forks_a_log_is_found_against_and_nobody_else() {
    let (mut repaired, mut wider, mut marked) = (0.0, 0.0, 0.0);
    for seed in 1..=4 * scale() {
        let outcome = check("attack/coherence", seed);
        let counted = counted(&outcome);
        let figure = |name: &str| counted.get(name);
        assert_eq!((figure("forks"), figure("silent_upheld")), (4.0, 1.0), "{counted:?}");
        assert_eq!(figure("two_repairs_upheld"), 1.0, "{counted:?}");
        assert!(figure("false_contests") > 500.0 && figure("ballots_without_a_vote") > 1_000.0);
        assert!(figure("two_faced_ballots") > 100.0 && figure("looks_quarantined") > 0.0);
        assert!(outcome.records_acknowledged > 0);
        repaired += figure("restored_repaired");
        wider += figure("told_of_wider_verdicts");
        marked += figure("answers_marked");
    }
    assert!(repaired > 0.0 && wider > 0.0 && marked > 0.0, "{repaired} {wider} {marked}");
    let control = |options: Options, words: &str| {
        let control = run("attack/coherence", 1, options);
        let found = control.violations.iter().any(|v| v.text.contains(words));
        assert!(found, "{words}: {:#?}", control.violations);
        counted(&control).get("silent_upheld")
    };
    let no_defence = Options { no_defence: true, ..Options::default() };
    assert_eq!(control(no_defence, "that did not lie there"), 0.0);
    control(Options { no_signatures: true, ..Options::default() }, "that never lied");
}

#[test]
fn nobody_is_named_when_only_the_network_is_at_fault() {
    let outcome = check("honest", 3);
    assert_eq!((outcome.liars, outcome.liars_named, outcome.lies), (0, 0, 0));
}

#[test]
fn witnesses_crash_and_never_vote_twice() {
    let outcome = check("crash-witness", 2);
    assert!(outcome.escrows.settled > 0);
}

/// Nobody is named, paid twice or left without an answer because a clock was set by an hour.
#[test]
fn clocks_that_are_set_break_no_rule() {
    let outcome = check("clock-jumps", 3);
    let wanted = outcome.tasks as u64 - outcome.tasks_cancelled - outcome.tasks_abandoned;
    assert!(outcome.tasks_done * 100 >= wanted * 95, "{:?}", outcome.tasks_failed);
    // A clock that was set forward ends what its requester waits for; that it says so is the rule.
    let late = "the task timed out: no result could be checked in time";
    assert!(outcome.tasks_failed.contains_key(late), "{:?}", outcome.tasks_failed);
    assert_eq!(outcome.escrows.open + outcome.escrows.frozen, 0);
}

/// Seeds 3 to 6 had copies that nobody restored after their holder's disk was lost.
#[test]
fn copies_on_lost_disks_are_restored() {
    let outcome = check("lost-disk", 3);
    assert_eq!(outcome.replicas_min, 3);
}

/// An owner that came back with an empty disk began its log again, its holders dropped what they
/// had acknowledged, and it settled an escrow for less than it had promised (seeds 1 to 6).
#[test]
fn an_owner_that_lost_its_disk_harms_no_copy_and_breaks_no_promise() {
    for seed in [1, 4] {
        let outcome = check("lost-owner", seed);
        assert!(outcome.replicas_min > 0 && outcome.records_acknowledged > 0);
        let told = outcome.tasks_failed.keys().any(|reason| reason.starts_with("the log of the"));
        assert!(told, "{:?}", outcome.tasks_failed);
    }
}

/// Members that send a hundred times what others send slow nobody down and are banned; honest ones
/// never are. Without budgets the same flood fills queues: `nightly` has that.
#[test]
fn a_flood_slows_nobody_down_and_is_banned() {
    for seed in 1..=scale() {
        let outcome = check("attack/flood", seed);
        let Some(Attacked::Counted(flood)) = &outcome.attack else { panic!() };
        assert_eq!(flood.get("flooders"), 6.0);
        assert!(outcome.bans >= 6 && outcome.limited > 1_000, "{outcome:?}");
        // A search whose holders are banned meanwhile may be left without an answer.
        assert!(
            outcome.tasks_done * 1_000 >= outcome.tasks as u64 * 995,
            "{:?}",
            outcome.tasks_failed
        );
    }
}

/// Nobody who is honest comes near a budget.
#[test]
fn honest_traffic_is_never_limited() {
    let outcome = check("honest", 1);
    assert_eq!((outcome.limited, outcome.bans), (0, 0));
}

#[test]
fn equal_seeds_give_equal_runs_and_others_others() {
    let faulty = |seed| run("mixed-faults", seed, Options::default());
    let (first, second, other) = (faulty(7), faulty(7), faulty(8));
    assert_eq!((first.digest.clone(), first.events), (second.digest, second.events));
    assert_ne!(first.digest, other.digest);
}

/// Signatures change no decision: the same happens, only faster.
#[test]
fn without_signatures_the_same_happens() {
    let signed = run("mixed-faults", 9, Options::default());
    let unsigned = run("mixed-faults", 9, Options { no_signatures: true, ..Options::default() });
    assert_eq!(signed.inputs, unsigned.inputs);
    assert!(signed.verifications_per_s > Some(0.0) && unsigned.verifications_per_s.is_none());
}

fn caught(mutant: Mutant, checker: &str) {
    for seed in [1, 2] {
        let options = Options { mutant: Some(mutant), ..Options::default() };
        let outcome = run("mixed-faults", seed, options);
        assert!(
            outcome.violations.iter().any(|v| v.checker == checker),
            "{mutant} with seed {seed} was not caught by {checker}: {:#?}",
            outcome.violations
        );
    }
}

#[test]
fn a_lost_acknowledgement_is_caught() {
    caught(Mutant::LostAcknowledgement, "appends-survive");
}

#[test]
fn a_double_settlement_is_caught() {
    caught(Mutant::DoubleSettle, "escrow-ends-once");
}

#[test]
fn a_paid_liar_is_caught() {
    caught(Mutant::PaidLiar, "paid-for-truth");
}

#[test]
fn scenarios_are_what_they_say() {
    for scenario in Scenario::all() {
        assert!(scenario.witnesses % 3 == 1 && scenario.witnesses <= scenario.peers);
        assert!(Scenario::named(scenario.name).is_some() && !scenario.about.is_empty());
        if scenario.setup == Setup::Tickets {
            assert!(scenario.peers <= 16, "tickets are for small pools");
        }
    }
    let small = Scenario::named("mixed-faults").unwrap().with_peers(5);
    assert_eq!((small.peers, small.witnesses, small.workload.requesters), (5, 4, 5));
}

/// The command refuses fewer; with as many, a run goes to its end.
#[test]
fn too_few_peers_are_refused_and_the_fewest_are_enough() {
    for scenario in Scenario::all() {
        let least = scenario.least_peers();
        assert!((1..=3).contains(&least), "{}: {least}", scenario.name);
        let run = |peers: usize| {
            std::process::Command::new(env!("CARGO_BIN_EXE_edge-sim"))
                .args(["run", scenario.name, "--json", "--no-signatures", "--peers"])
                .arg(peers.to_string())
                .output()
                .unwrap()
        };
        let output = run(least - 1);
        assert_eq!(output.status.code(), Some(2), "{}", scenario.name);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&format!("--peers {least} or more")), "{said}");
        let output = run(least);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(matches!(output.status.code(), Some(0 | 1)), "{}: {said}", scenario.name);
        assert!(!said.contains("panicked"), "{}: {said}", scenario.name);
    }
}
