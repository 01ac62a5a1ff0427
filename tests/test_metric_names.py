from melanoma import metric_names


def test_scores_of_an_epoch_say_of_which_split_they_are():
    scores = {"loss": 0.6, "accuracy": 0.7, "val_loss": 0.5, "val_auc_roc": 0.8, "learning_rate": 0.01}
    assert metric_names.of_epoch(scores) == {
        "epoch/train_loss": 0.6,
        "epoch/train_accuracy": 0.7,
        "epoch/holdout_loss": 0.5,
        "epoch/holdout_auc_roc": 0.8,
        "epoch/learning_rate": 0.01,
    }


def test_the_kept_epoch_and_its_scores_are_what_choices_are_made_by():
    assert metric_names.of_selection({"epoch": 3, "val_auc_roc": 0.8}) == {
        "selection/epoch": 3,
        "selection/auc_roc": 0.8,
    }


def test_a_value_has_one_name_for_each_section():
    assert metric_names.in_section("test", {"auc_roc": 0.9}) == {"test/auc_roc": 0.9}
