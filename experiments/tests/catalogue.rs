//! Every experiment of the tree compiles, runs dry and says what it should.

use experiments::{Catalogue, catalogue_folder};

#[test]
fn the_whole_catalogue_runs_dry() {
    let catalogue = Catalogue::load(&catalogue_folder()).unwrap();
    for experiment in &catalogue.experiments {
        for hypervisor in [true, false] {
            let report = experiment.dry_run(&catalogue.folder, hypervisor);
            println!(
                "{:<30} {:<5} {}",
                experiment.id,
                report.verdict.word(),
                report.reason
            );
        }
    }
    let mistakes: Vec<String> = catalogue.check().iter().map(ToString::to_string).collect();
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}
