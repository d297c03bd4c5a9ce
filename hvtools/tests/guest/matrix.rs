//! Every planted defect is caught by the experiments that its row names, and labvisor without one passes them all.

use crate::support::hv;

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn matrix_on_labvisor() {
    let runs = tempfile::tempdir().unwrap();
    let mut matrix = hv(&["matrix", "--no-build", "--json", "--runs"]);
    let output = matrix.arg(runs.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let progress = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{progress}\n{text}");
    let matrix: serde_json::Value = serde_json::from_str(&text).unwrap();
    let rows = matrix["rows"].as_array().unwrap();
    assert!(rows.len() >= 45, "{} rows", rows.len());
    // Experiments that catch the same defects count as one.
    let different = matrix["different"].as_u64().unwrap();
    assert!(different >= 45, "{different}: {}", matrix["alike"]);
    assert_eq!(matrix["clean"].as_array().unwrap().len(), 0);
    println!("{progress}");
}
