/// Every command, in the order of help.
enum AllCommands {
  static let list: [any Command.Type] = [
    InspectCommand.self, TokensCommand.self, TraceCommand.self, VerifyCommand.self, GenerateCommand.self,
    EvalCommand.self, DoctorCommand.self, BenchForwardCommand.self,
  ]
}
