/// Every command, in the order of help.
enum AllCommands {
  static let list: [any Command.Type] = [
    AttentionCommand.self, ContributionCommand.self, CompareCommand.self, FinetuneCommand.self,
    AdapterCommand.self,
    TrainCommand.self, EvalCommand.self,
    GenerateCommand.self,
    TokensCommand.self, InspectCommand.self, TraceCommand.self, VerifyCommand.self, ConvertCommand.self,
    ReportCommand.self,
    MergeCommand.self, BenchCommand.self, BenchSweepCommand.self, BenchTableCommand.self,
    BenchPlotCommand.self, BenchBalanceCommand.self, BenchProbeCommand.self, DataCommand.self,
    DoctorCommand.self, BenchForwardCommand.self,
    BenchTrainCommand.self,
  ]
}
